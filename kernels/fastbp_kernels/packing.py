"""Panels: columns of B copied to where the tile reads them fast.

A panel is ``width`` columns of B in aligned rows of ``width`` elements. Columns beyond B's last are zero, so that the
tile needs no mask for B. The forward product takes B = weight.T: its panels are transposed on the way, in registers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastbp_kernels.cache import inner_kernel
from fastbp_kernels.elementwise import zero_loop
from fastbp_kernels.intrinsics import Context, Definition, Values, intrinsic
from fastbp_kernels.native import NativeFunction
from fastbp_kernels.pointers import Pointer, shift
from fastbp_kernels.tile import widths
from fastbp_kernels.vectors import INT64, Vectors, bytes_of

FEW = 6  # so few columns are transposed number by number: a square of registers would be mostly empty


@inner_kernel
def pack_panel(panel: Pointer, width: int, columns: int, k: int, b: Pointer, b_row: int, transposed: bool) -> None:
    """Copy ``k`` rows of B, ``columns`` <= ``width`` of them wide, into ``panel``.

    Parameters
    ----------
    panel : pointer
        Aligned to a cache line, with room for ``width`` times ``k`` rounded up to full vectors.
    b : pointer; b_row : int
        B[j, c] is ``b[j * b_row + c]``, or ``b[c * b_row + j]`` if ``transposed``.
    """
    if transposed and k <= FEW:
        zero_loop(k * width, panel)
        for row in range(k):
            for column in range(columns):
                panel[row * width + column] = b[column * b_row + row]
        return
    lanes = _vector_lanes(panel, width)
    for column in range(0, width, lanes):
        valid = max(0, min(lanes, columns - column))
        if transposed:
            _transpose_columns(lanes, shift(panel, column), width, valid, k, shift(b, column * b_row), b_row)
        else:
            _copy_columns(lanes, shift(panel, column), width, valid, k, shift(b, column), b_row)


def _lane_counts(element_bytes: int) -> list[int]:
    """Return the lanes of the vectors that tiles are made of, most first: only the widest tile has two to a row."""
    return widths(element_bytes)[1:]


@intrinsic
def _vector_lanes(typing_context: Context, like: types.CPointer, width: types.Integer) -> Definition:
    """Return the lanes of the vectors that a tile of ``width`` is made of."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        most = INT64(_lane_counts(like.dtype.bitwidth // 8)[0])
        return builder.select(builder.icmp_signed("<", arguments[1], most), arguments[1], most)

    return types.intp(like, types.intp), codegen


def _columns_loop(function: NativeFunction) -> Callable[[int, Pointer, int, int, int, Pointer, int], None]:
    """Return an intrinsic ``(lanes, panel, panel_row, valid, k, b, b_row)`` that calls ``function``."""

    @intrinsic
    def loop(
        typing_context: Context, lanes: types.Integer, panel: types.CPointer, panel_row: types.Integer,
        valid: types.Integer, k: types.Integer, b: types.CPointer, b_row: types.Integer,
    ) -> Definition:  # fmt: skip
        integer = types.intp
        return types.void(integer, panel, integer, integer, integer, b, integer), function.call(panel)

    return loop


def _arguments(element: ir.Type) -> list[ir.Type]:
    p = element.as_pointer()
    return [INT64, p, INT64, INT64, INT64, p, INT64]


def _emit_for_each_lane_count(emit: Callable[..., None]) -> Callable[[ir.Function, ir.Type], None]:
    """Return a body that runs ``emit(vectors, *arguments)``; the body's first argument tells their lanes."""

    def emit_body(function: ir.Function, element: ir.Type) -> None:
        lanes, *arguments = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        for count in _lane_counts(bytes_of(element)):
            with builder.if_then(builder.icmp_signed("==", lanes, INT64(count))):
                emit(Vectors(builder, element, count), *arguments)
        builder.ret_void()

    return emit_body


def _emit_copy(
    v: Vectors, panel: ir.Value, panel_row: ir.Value, valid: ir.Value, k: ir.Value, b: ir.Value, b_row: ir.Value
) -> None:
    """Emit the copy of ``k`` vectors of B of which the first ``valid`` lanes exist, with zeros in the others."""
    builder = v.builder

    def copy(load: Callable[[ir.Value], ir.Value]) -> None:
        with cgutils.for_range(builder, k) as loop:
            source = builder.gep(b, [builder.mul(loop.index, b_row)])
            v.store(load(source), builder.gep(panel, [builder.mul(loop.index, panel_row)]), align=v.size)

    with builder.if_else(builder.icmp_signed("==", valid, INT64(v.lanes))) as (whole, ragged):
        with whole:
            copy(v.load)
        with ragged:
            mask = v.first_lanes(valid)
            copy(lambda source: v.masked_load(source, mask))


def _emit_transpose(
    v: Vectors, panel: ir.Value, panel_row: ir.Value, valid: ir.Value, k: ir.Value, b: ir.Value, b_row: ir.Value
) -> None:
    """Emit the copy of ``k`` elements of ``valid`` rows at ``b`` into the panel's columns, with zeros in the others."""
    builder = v.builder
    with cgutils.for_range_slice(builder, INT64(0), k, INT64(v.lanes), inc=True) as (first, _):
        left = builder.sub(k, first)
        sources = [builder.gep(b, [builder.add(builder.mul(b_row, INT64(row)), first)]) for row in range(v.lanes)]
        all_there = builder.and_(
            builder.icmp_signed("==", valid, INT64(v.lanes)), builder.icmp_signed(">=", left, INT64(v.lanes))
        )
        with builder.if_else(all_there) as (whole, ragged):
            with whole:
                rows_whole = [v.load(source) for source in sources]
                end_whole = builder.block
            with ragged:
                in_k, none = v.first_lanes(left), ir.Constant(v.mask_type, [0] * v.lanes)
                exist = [builder.icmp_signed(">", valid, INT64(row)) for row in range(v.lanes)]
                masks = [builder.select(exists, in_k, none) for exists in exist]
                rows_ragged = [v.masked_load(source, mask) for source, mask in zip(sources, masks)]
                end_ragged = builder.block
        rows = []
        for row_whole, row_ragged in zip(rows_whole, rows_ragged):
            row = builder.phi(v.type)
            row.add_incoming(row_whole, end_whole)
            row.add_incoming(row_ragged, end_ragged)
            rows.append(row)
        for step, column in enumerate(_transposed(v, rows)):
            place = builder.gep(panel, [builder.mul(builder.add(first, INT64(step)), panel_row)])
            v.store(column, place, align=v.size)


_copy_columns = _columns_loop(NativeFunction("copy_columns", _arguments, _emit_for_each_lane_count(_emit_copy)))


def _transposed(v: Vectors, rows: list[ir.Value]) -> list[ir.Value]:
    """Return the columns of a square of ``v.lanes`` rows.

    First within quarters of 128 bits, where CPUs interleave in one cycle; then whole quarters change places.
    """
    quarter = min(16 // v.bytes, v.lanes)  # lanes in 128 bits
    groups = [_interleaved(v, rows[g : g + quarter], quarter) for g in range(0, v.lanes, quarter)]
    columns: list[ir.Value] = [None] * v.lanes
    for within in range(quarter):
        for position, column in enumerate(_quarters_transposed(v, [group[within] for group in groups], quarter)):
            columns[position * quarter + within] = column
    return columns


def _interleaved(v: Vectors, rows: list[ir.Value], quarter: int) -> list[ir.Value]:
    """Transpose each 128-bit quarter of ``quarter`` rows (four of float32 or two of float64)."""
    for run in (1 << bit for bit in range(quarter.bit_length() - 1)):  # lanes that travel together
        low: list[int] = []
        high: list[int] = []
        for lane in range(0, v.lanes, quarter):
            for half, order in ((0, low), (quarter // 2, high)):
                for start in range(lane + half, lane + half + quarter // 2, run):
                    order += [*range(start, start + run), *range(v.lanes + start, v.lanes + start + run)]
        pairs = [(rows[n], rows[n + run]) for n in range(len(rows)) if not n & run]
        rows = [v.shuffle(first, second, order) for first, second in pairs for order in (low, high)]
    return rows


def _quarters_transposed(v: Vectors, vectors: list[ir.Value], quarter: int) -> list[ir.Value]:
    """Return the vectors whose n-th quarters are the first vector's, the second's ... n-th quarter."""
    if len(vectors) == 1:
        return vectors
    quarters = [list(range(start, start + quarter)) for start in range(0, 2 * v.lanes, quarter)]
    halves = []
    for parity in (0, 1):
        order = [lane for lanes in quarters[parity::2] for lane in lanes]
        joined = [v.shuffle(first, second, order) for first, second in zip(vectors[::2], vectors[1::2])]
        halves.append(_quarters_transposed(v, joined, quarter))
    return [vector for pair in zip(*halves) for vector in pair]


_transpose_columns = _columns_loop(
    NativeFunction("transpose_columns", _arguments, _emit_for_each_lane_count(_emit_transpose))
)

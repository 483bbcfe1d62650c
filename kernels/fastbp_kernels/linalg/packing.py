"""Packing: columns of B and rows of A copied to where the tile reads them fast.

A panel is ``width`` columns of B in aligned rows of ``width`` elements, whether B has so many or not: the tile needs no
mask for B, and does not store what it computes of the others. The forward product takes B = weight.T: its panels are
transposed on the way, in registers. A tile's rows of A are packed as a panel of their transpose.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.elementwise import zero_loop
from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.pointers import Pointer, shift
from fastbp_kernels.compiler.vectors import INT64, LANE_BYTES, Vectors, bytes_of
from fastbp_kernels.linalg.blocking import PACKED_WIDTH, PAGE
from fastbp_kernels.linalg.tile import widths

ROWS, ROOMY_ROWS, TRANSPOSED = range(3)  # how B lies in memory; see ``product``

PLACES = 8  # of the first cache: more rows that lie pages apart, taken at once, push one another out

FEW = 6  # so few rows are transposed number by number: a square of registers would be mostly empty


_STRIP = 10  # panels that are copied side by side, so that some cache lines of a row of B are read together


@inner_kernel
def pack_panel(panel: Pointer, width: int, columns: int, k: int, b: Pointer, b_row: int, transposed: bool) -> None:
    """Copy ``k`` rows of B, ``columns`` of them wide, into ``panel``.

    Parameters
    ----------
    panel : pointer
        Aligned to a cache line, with room for ``width`` times ``k``.
    width, columns : int
        A tile's width or ``PACKED_WIDTH``, and up to as many columns.
    b : pointer; b_row : int
        B[j, c] is ``b[j * b_row + c]``, or ``b[c * b_row + j]`` if ``transposed``.
    """
    if not transposed:
        _copy(width, 1, panel, columns, k, b, b_row)
    elif k > FEW:
        _transpose(width, 1, panel, columns, k, b, b_row)
    else:
        zero_loop(k * width, panel)
        for row in range(k):
            for column in range(columns):
                panel[row * width + column] = b[column * b_row + row]


@inner_kernel
def pack_panels(
    count: int, panels: Pointer, width: int, columns: int, k: int, b: Pointer, b_row: int, transposed: bool
) -> None:
    """Copy ``k`` rows of B into ``count`` panels of ``columns`` each, one behind the other; see ``pack_panel``."""
    for first in range(0, count, _STRIP):
        strip, panel = min(_STRIP, count - first), shift(panels, first * width * k)
        source = shift(b, first * columns * (b_row if transposed else 1))
        if not transposed:
            _copy(width, strip, panel, columns, k, source, b_row)
        elif k > FEW:
            _transpose(width, strip, panel, columns, k, source, b_row)
        else:
            for number in range(strip):
                place, line = shift(panel, number * width * k), shift(source, number * columns * b_row)
                pack_panel(place, width, columns, k, line, b_row, True)


def _packing(name: str, emit: Callable[..., None]) -> Callable[[int, int, Pointer, int, int, Pointer, int], None]:
    """Return an intrinsic ``(width, count, panels, columns, k, b, b_row)``; ``emit`` takes the width as an int."""

    def arguments(element: ir.Type) -> list[ir.Type]:
        return [INT64, INT64, element.as_pointer(), INT64, INT64, element.as_pointer(), INT64]

    def emit_body(function: ir.Function, element: ir.Type) -> None:
        width, *others = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        for each in sorted({*widths(bytes_of(element)), PACKED_WIDTH}):
            with builder.if_then(builder.icmp_signed("==", width, INT64(each))):
                emit(builder, element, each, *others)
        builder.ret_void()

    native = NativeFunction(name, arguments, emit_body)

    @intrinsic
    def pack(
        typing_context: Context, width: types.Integer, count: types.Integer, panels: types.CPointer,
        columns: types.Integer, k: types.Integer, b: types.CPointer, b_row: types.Integer,
    ) -> Definition:  # fmt: skip
        integer = types.intp
        return types.void(integer, integer, panels, integer, integer, b, integer), native.call(panels)

    return pack


def _emit_copy(
    builder: ir.IRBuilder, element: ir.Type, width: int, count: ir.Value, panels: ir.Value, columns: ir.Value,
    k: ir.Value, b: ir.Value, b_row: ir.Value,
) -> None:  # fmt: skip
    """Emit the copy, with zeros in the columns that B does not have."""
    v = Vectors(builder, element, min(width, LANE_BYTES // bytes_of(element)))
    starts = [INT64(start) for start in range(0, width, v.lanes)]
    size = builder.mul(k, INT64(width))

    def copy(loads: list[Callable[[ir.Value], ir.Value]]) -> None:
        with cgutils.for_range(builder, k) as step:
            row = builder.gep(b, [builder.mul(step.index, b_row)])
            packed_row = builder.gep(panels, [builder.mul(step.index, INT64(width))])
            with cgutils.for_range(builder, count) as number:
                source = builder.gep(row, [builder.mul(number.index, columns)])
                place = builder.gep(packed_row, [builder.mul(number.index, size)])
                for start, load in zip(starts, loads):
                    v.store(load(builder.gep(source, [start])), builder.gep(place, [start]), align=v.size)

    with builder.if_else(builder.icmp_signed("==", columns, INT64(width))) as (whole, ragged):
        with whole:
            copy([v.load] * len(starts))
        with ragged:
            masks = [v.first_lanes(builder.sub(columns, start)) for start in starts]
            copy([partial(v.masked_load, mask=mask) for mask in masks])


def _emit_transpose(
    builder: ir.IRBuilder, element: ir.Type, width: int, count: ir.Value, panels: ir.Value, columns: ir.Value,
    k: ir.Value, b: ir.Value, b_row: ir.Value,
) -> None:  # fmt: skip
    """Emit the transposition, with B's last column once more in those that it does not have.

    A vector's quarters of 128 bits are loaded from a row of ``b`` each, so that in as many steps of k as a quarter has
    lanes, only squares within the quarters are left to transpose, which CPUs do in one cycle a vector. For float32::

        vector r, loaded:      | b[r]             | b[4 + r]         | b[8 + r]         | b[12 + r]         |
        vector s, transposed:  | step s of b[:4]  | ... b[4:8]       | ... b[8:12]      | ... b[12:]        |

    ``k`` is at least a quarter's lanes. Where it is no multiple of them, the last steps overlap those before.
    """
    quarter = Vectors(builder, element, 16 // bytes_of(element))
    last_column, last_step = builder.sub(columns, INT64(1)), builder.sub(k, INT64(quarter.lanes))

    def transpose(panel: ir.Value, first: ir.Value, lanes: int) -> None:
        v = Vectors(builder, element, lanes)
        for start in range(0, width, lanes):
            sources = []
            for column in range(start, start + lanes):
                exists = builder.icmp_signed("<", INT64(column), columns)
                row = builder.select(exists, INT64(column), last_column)
                sources.append(builder.gep(first, [builder.mul(b_row, row)]))
            with cgutils.for_range_slice(builder, INT64(0), k, INT64(quarter.lanes), inc=True) as (step, _):
                step = builder.select(builder.icmp_signed("<", step, last_step), step, last_step)
                quarters = [quarter.load(builder.gep(source, [step])) for source in sources]
                vectors = [v.joined(quarters[row :: quarter.lanes]) for row in range(quarter.lanes)]
                for further, row in enumerate(_quarters_transposed(v, vectors)):
                    place = builder.mul(builder.add(step, INT64(further)), INT64(width))
                    v.store(row, builder.gep(panel, [builder.add(place, INT64(start))]), align=v.size)

    lanes = min(width, LANE_BYTES // bytes_of(element))
    with cgutils.for_range(builder, count) as number:
        panel = builder.gep(panels, [builder.mul(number.index, builder.mul(k, INT64(width)))])
        first = builder.gep(b, [builder.mul(number.index, builder.mul(columns, b_row))])
        if lanes <= PLACES:
            transpose(panel, first, lanes)
        else:
            within_page = builder.and_(b_row, INT64(PAGE // bytes_of(element) - 1))
            with builder.if_else(builder.icmp_signed("==", within_page, INT64(0))) as (pages_apart, else_apart):
                with pages_apart:
                    transpose(panel, first, PLACES)
                with else_apart:
                    transpose(panel, first, lanes)


def _quarters_transposed(v: Vectors, rows: Values) -> Values:
    """Transpose the square in each 128-bit quarter of four vectors of float32 or two of float64."""
    quarter = len(rows)
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


_copy = _packing("copy_panels", _emit_copy)
_transpose = _packing("transpose_panels", _emit_transpose)

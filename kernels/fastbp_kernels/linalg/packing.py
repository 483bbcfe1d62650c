"""Packing: columns of B and rows of A copied to where the tile reads them fast.

A panel is ``width`` columns of B in aligned rows of ``width`` elements, whether B has so many or not: the tile needs no
mask for B, and does not store what it computes of the others. The forward product takes B = weight.T: its panels are
transposed on the way, in registers.

A tile's rows of A are packed as such a panel of their transpose, ``PACKED_WIDTH`` wide: by the same code where a row
lies in one run; where a step of k does, several tiles at once, so that some cache lines of it are read together.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.elementwise import zero_loop
from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.pointers import Pointer
from fastbp_kernels.compiler.vectors import INT64, LANE_BYTES, Vectors, bytes_of
from fastbp_kernels.linalg.blocking import PACKED_WIDTH, PAGE
from fastbp_kernels.linalg.tile import widths

ROWS, ROOMY_ROWS, TRANSPOSED = range(3)  # how B lies in memory; see ``product``

PLACES = 8  # of the first cache: more rows that lie pages apart, taken at once, push one another out

FEW = 6  # so few rows are transposed number by number: a square of registers would be mostly empty


@inner_kernel
def pack_panel(panel: Pointer, width: int, columns: int, k: int, b: Pointer, b_row: int, transposed: bool) -> None:
    """Copy ``k`` rows of B, ``columns`` of them wide, into ``panel``.

    Parameters
    ----------
    panel : pointer
        Aligned to a cache line, with room for ``width`` times ``k``.
    width, columns : int
        A tile's width, and as many columns as fit it and no smaller one.
    b : pointer; b_row : int
        B[j, c] is ``b[j * b_row + c]``, or ``b[c * b_row + j]`` if ``transposed``.
    """
    if not transposed:
        _copy(width, panel, columns, k, b, b_row)
    elif k > FEW:
        _transpose(width, panel, columns, k, b, b_row)
    else:
        zero_loop(k * width, panel)
        for row in range(k):
            for column in range(columns):
                panel[row * width + column] = b[column * b_row + row]


def _packing(name: str, emit: Callable[..., None]) -> Callable[[int, Pointer, int, int, Pointer, int], None]:
    """Return an intrinsic ``(width, panel, columns, k, b, b_row)``; ``emit`` takes the width as an int."""

    def arguments(element: ir.Type) -> list[ir.Type]:
        return [INT64, element.as_pointer(), INT64, INT64, element.as_pointer(), INT64]

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
        typing_context: Context, width: types.Integer, panel: types.CPointer, columns: types.Integer, k: types.Integer,
        b: types.CPointer, b_row: types.Integer,
    ) -> Definition:  # fmt: skip
        integer = types.intp
        return types.void(integer, panel, integer, integer, b, integer), native.call(panel)

    return pack


def _emit_copy(
    builder: ir.IRBuilder, element: ir.Type, width: int, panel: ir.Value, columns: ir.Value, k: ir.Value, b: ir.Value,
    b_row: ir.Value,
) -> None:  # fmt: skip
    """Emit the copy, with zeros in the columns that B does not have."""
    v = Vectors(builder, element, min(width, LANE_BYTES // bytes_of(element)))
    *whole_vectors, last = range(0, width, v.lanes)
    in_last = builder.sub(columns, INT64(last))

    def copy(load_last: Callable[[ir.Value], ir.Value]) -> None:
        with cgutils.for_range(builder, k) as loop:
            source = builder.gep(b, [builder.mul(loop.index, b_row)])
            row = builder.gep(panel, [builder.mul(loop.index, INT64(width))])
            for start in whole_vectors:
                v.store(v.load(builder.gep(source, [INT64(start)])), builder.gep(row, [INT64(start)]), align=v.size)
            value = load_last(builder.gep(source, [INT64(last)]))
            v.store(value, builder.gep(row, [INT64(last)]), align=v.size)

    with builder.if_else(builder.icmp_signed("==", in_last, INT64(v.lanes))) as (whole, ragged):
        with whole:
            copy(v.load)
        with ragged:
            mask = v.first_lanes(in_last)
            copy(lambda source: v.masked_load(source, mask))


def _emit_transpose(
    builder: ir.IRBuilder, element: ir.Type, width: int, panel: ir.Value, columns: ir.Value, k: ir.Value, b: ir.Value,
    b_row: ir.Value,
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

    def transpose(lanes: int) -> None:
        v = Vectors(builder, element, lanes)
        for start in range(0, width, lanes):
            sources = []
            for column in range(start, start + lanes):
                exists = builder.icmp_signed("<", INT64(column), columns)
                row = builder.select(exists, INT64(column), last_column)
                sources.append(builder.gep(b, [builder.mul(b_row, row)]))
            with cgutils.for_range_slice(builder, INT64(0), k, INT64(quarter.lanes), inc=True) as (step, _):
                step = builder.select(builder.icmp_signed("<", step, last_step), step, last_step)
                quarters = [quarter.load(builder.gep(source, [step])) for source in sources]
                vectors = [v.joined(quarters[row :: quarter.lanes]) for row in range(quarter.lanes)]
                for further, row in enumerate(_quarters_transposed(v, vectors)):
                    place = builder.mul(builder.add(step, INT64(further)), INT64(width))
                    v.store(row, builder.gep(panel, [builder.add(place, INT64(start))]), align=v.size)

    lanes = min(width, LANE_BYTES // bytes_of(element))
    if lanes <= PLACES:
        transpose(lanes)
        return
    within_page = builder.and_(b_row, INT64(PAGE // bytes_of(element) - 1))
    with builder.if_else(builder.icmp_signed("==", within_page, INT64(0))) as (pages_apart, else_apart):
        with pages_apart:
            transpose(PLACES)
        with else_apart:
            transpose(lanes)


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


@intrinsic
def pack_columns(
    typing_context: Context, rows: types.Integer, tiles: types.Integer, packed: types.CPointer, k: types.Integer,
    a: types.CPointer, a_k: types.Integer,
) -> Definition:  # fmt: skip
    """Copy ``k`` steps of tiles of ``rows`` rows each into ``packed``, one tile behind the other.

    A[r, j] is ``a[r + j * a_k]``.
    """
    integer = types.intp
    return types.void(integer, integer, packed, integer, a, integer), _COLUMNS.call(packed)


def _emit_columns(function: ir.Function, element: ir.Type) -> None:
    rows, tiles, packed, k, a, a_k = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, element, min(PACKED_WIDTH, LANE_BYTES // bytes_of(element)))
    starts = [INT64(start) for start in range(0, PACKED_WIDTH, v.lanes)]
    masks = [v.first_lanes(builder.sub(rows, start)) for start in starts]
    size = builder.mul(k, INT64(PACKED_WIDTH))
    with cgutils.for_range(builder, k) as step:
        source = builder.gep(a, [builder.mul(step.index, a_k)])
        target = builder.gep(packed, [builder.mul(step.index, INT64(PACKED_WIDTH))])
        with cgutils.for_range(builder, tiles) as number:
            here = builder.gep(source, [builder.mul(number.index, rows)])
            there = builder.gep(target, [builder.mul(number.index, size)])
            for start, mask in zip(starts, masks):
                v.store(v.masked_load(builder.gep(here, [start]), mask), builder.gep(there, [start]), align=v.size)
    builder.ret_void()


def _column_arguments(element: ir.Type) -> list[ir.Type]:
    return [INT64, INT64, element.as_pointer(), INT64, element.as_pointer(), INT64]


_COLUMNS = NativeFunction("pack_columns", _column_arguments, _emit_columns)
_copy = _packing("copy_panel", _emit_copy)
_transpose = _packing("transpose_panel", _emit_transpose)

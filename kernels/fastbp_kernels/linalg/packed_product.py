"""The product of large matrices: A and B are copied to where the tile reads them in order.

The loops, from the outermost::

    columns of B, so many panels as there is memory for
        steps of k, K_BLOCK at a time           pack B:  | panel 0: step 0, step 1, ... | panel 1: ... | ...
            rows of A, some tiles at a time     pack A:  | tile 0: step 0, step 1, ... | tile 1: ... | ...
                panels of B                     stay in the first cache
                    tiles of A                  stream through it

Each number is the sum of the same terms in the same order as where A and B are read in place.
"""

from __future__ import annotations

from numba.types import boolean, intp

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.elementwise import copy_loop, zero_loop
from fastbp_kernels.compiler.late_kernel import late_kernel
from fastbp_kernels.compiler.pointers import Pointer, shift, stack_memory
from fastbp_kernels.linalg.blocking import (
    K_BLOCK,
    PACKED_TILE_ROWS,
    PACKED_WIDTH,
    PANEL_STRIP,
    START_SIZE,
    packed_panels,
    packed_tiles,
)
from fastbp_kernels.linalg.packing import TRANSPOSED, pack_panels
from fastbp_kernels.linalg.tile import ADD, STORE, panel_width, tile


@late_kernel(lambda p: (intp, intp, intp, p, intp, intp, p, intp, intp, boolean, p, p, intp, intp, p, intp, p.dtype, p))
def packed_product(
    m: int, columns: int, k: int, a: Pointer, a_row: int, a_k: int, b: Pointer, b_row: int, b_kind: int,
    has_bias: bool, bias: Pointer, c: Pointer, c_row: int, epilogue: int, aux: Pointer, aux_row: int, lr: float,
    memory: Pointer,
) -> None:  # fmt: skip
    """Compute ``product`` with A and B packed in ``memory``, a block of ``BLOCK_BYTES``.

    ``m`` and ``k`` are 1 or more, and one of ``a_row`` and ``a_k`` is 1.
    """
    start = stack_memory(a, START_SIZE)
    zero_loop(START_SIZE, start)
    widest = panel_width(a, columns)
    strip = PANEL_STRIP * widest
    most = packed_tiles() * PACKED_TILE_ROWS
    panels = packed_panels(packed_tiles())
    packed_a = shift(memory, panels * panel_width(a, 1 << 30) * K_BLOCK)
    b_column, b_step = (b_row, 1) if b_kind == TRANSPOSED else (1, b_row)
    blocks = (m + most - 1) // most
    block = (m + blocks * PACKED_TILE_ROWS - 1) // (blocks * PACKED_TILE_ROWS) * PACKED_TILE_ROWS  # rows of each
    for left in range(0, columns, panels * widest):
        right = min(columns, left + panels * widest)
        for first in range(0, k, K_BLOCK):
            depth = min(K_BLOCK, k - first)
            ends = first + depth == k
            task = (epilogue if ends else epilogue & ADD) | (ADD if first else STORE)
            for top in range(0, m, block):
                height = min(block, m - top)
                tiles = (height + PACKED_TILE_ROWS - 1) // PACKED_TILE_ROWS
                low, higher = height // tiles, height % tiles  # rows of a tile, and how many tiles have one more
                _pack_rows(packed_a, low, higher, tiles, depth, shift(a, top * a_row + first * a_k), a_row, a_k)
                for column in range(left, right, widest):
                    if top == 0 and (column - left) % strip == 0:
                        end = min(right, column + strip)
                        place, source = shift(memory, (column - left) * depth), shift(b, first * b_step)
                        _pack_columns(place, column, end, widest, depth, source, b_row, b_column)
                    width = panel_width(a, columns - column)
                    valid = min(width, columns - column)
                    if has_bias:
                        zero_loop(START_SIZE, start)
                        if first == 0:
                            copy_loop(valid, shift(bias, column), start)
                    row, done = top, 0
                    for rows, count in ((low + 1, higher), (low, tiles - higher)):
                        if count:
                            tile(
                                width, rows, count, valid, depth, shift(packed_a, done * depth * PACKED_WIDTH),
                                depth * PACKED_WIDTH, 1, PACKED_WIDTH, shift(memory, (column - left) * depth), width,
                                start, shift(c, row * c_row + column), c_row, task,
                                shift(aux, row * aux_row + column), aux_row, lr,
                            )  # fmt: skip
                        row += rows * count
                        done += count


@inner_kernel
def _pack_columns(
    packed: Pointer, left: int, right: int, width: int, depth: int, b: Pointer, b_row: int, b_column: int
) -> None:
    """Pack the columns of B from ``left`` to ``right``, in panels of ``width`` and maybe a last one of fewer."""
    whole, transposed = (right - left) // width, b_column != 1
    pack_panels(whole, packed, width, width, depth, shift(b, left * b_column), b_row, transposed)
    done = left + whole * width
    if done < right:
        columns, place = right - done, shift(packed, whole * width * depth)
        last = panel_width(packed, columns)
        pack_panels(1, place, last, columns, depth, shift(b, done * b_column), b_row, transposed)


@inner_kernel
def _pack_rows(
    packed: Pointer, low: int, higher: int, tiles: int, depth: int, a: Pointer, a_row: int, a_k: int
) -> None:
    """Pack tiles of A: ``higher`` ones of ``low + 1`` rows, the others of ``low``."""
    source, place = a, packed
    for rows, count in ((low + 1, higher), (low, tiles - higher)):
        pack_panels(count, place, PACKED_WIDTH, rows, depth, source, a_row if a_k == 1 else a_k, a_k == 1)
        source, place = shift(source, count * rows * a_row), shift(place, count * depth * PACKED_WIDTH)

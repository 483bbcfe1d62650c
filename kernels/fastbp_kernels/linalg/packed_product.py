"""The product of large matrices: A is copied tile by tile to where the tile reads it in order.

The loops, from the outermost::

    rows of A, PACKED_ROWS at a time
        steps of k, K_BLOCK at a time      pack A:  | tile 0: step 0, step 1, ... | tile 1: step 0, step 1, ... | ...
            columns of B, a tile's width   pack a panel of B, which stays in the first cache
                tiles of A                 stream through it

Each number is the sum of the same terms in the same order as where A is read in place.
"""

from __future__ import annotations

from numba.types import boolean, intp

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.elementwise import copy_loop, zero_loop
from fastbp_kernels.compiler.late_kernel import late_kernel
from fastbp_kernels.compiler.pointers import Pointer, shift, stack_memory
from fastbp_kernels.linalg.blocking import (
    K_BLOCK,
    PACKED_ROWS,
    PACKED_TILE_ROWS,
    PACKED_WIDTH,
    PANEL_SIZE,
    START_SIZE,
)
from fastbp_kernels.linalg.packing import TRANSPOSED, pack_columns, pack_panel
from fastbp_kernels.linalg.tile import ADD, STORE, panel_width, tile

_STRIP = 10  # tiles that are packed side by side where a step of k lies in one row: some cache lines of it


@late_kernel(lambda p: (intp, intp, intp, p, intp, intp, p, intp, intp, boolean, p, p, intp, intp, p, intp, p.dtype, p))
def packed_product(
    m: int, columns: int, k: int, a: Pointer, a_row: int, a_k: int, b: Pointer, b_row: int, b_kind: int,
    has_bias: bool, bias: Pointer, c: Pointer, c_row: int, epilogue: int, aux: Pointer, aux_row: int, lr: float,
    memory: Pointer,
) -> None:  # fmt: skip
    """Compute ``product`` with A packed in ``memory``, a block of ``BLOCK_BYTES``.

    ``m`` and ``k`` are 1 or more, and one of ``a_row`` and ``a_k`` is 1.
    """
    panel, start = stack_memory(a, PANEL_SIZE), stack_memory(a, START_SIZE)
    zero_loop(START_SIZE, start)
    for top in range(0, m, PACKED_ROWS):
        height = min(PACKED_ROWS, m - top)
        tiles = (height + PACKED_TILE_ROWS - 1) // PACKED_TILE_ROWS
        low, higher = height // tiles, height % tiles  # rows of a tile, and how many tiles have one more
        for first in range(0, k, K_BLOCK):
            depth = min(K_BLOCK, k - first)
            ends = first + depth == k
            task = (epilogue if ends else epilogue & ADD) | (ADD if first else STORE)
            size, a_row_now = depth * PACKED_WIDTH, top
            for rows, begin, end in ((low + 1, 0, higher), (low, higher, tiles)):
                source = shift(a, a_row_now * a_row + first * a_k)
                _pack(rows, end - begin, shift(memory, begin * size), depth, source, a_row, a_k)
                a_row_now += rows * (end - begin)
            column = 0
            while column < columns:
                width = panel_width(a, columns - column)
                valid = min(width, columns - column)
                if has_bias:
                    zero_loop(START_SIZE, start)
                    if first == 0:
                        copy_loop(valid, shift(bias, column), start)
                if b_kind == TRANSPOSED:
                    pack_panel(panel, width, valid, depth, shift(b, column * b_row + first), b_row, True)
                else:
                    pack_panel(panel, width, valid, depth, shift(b, first * b_row + column), b_row, False)
                row = top
                for rows, begin, end in ((low + 1, 0, higher), (low, higher, tiles)):
                    if begin < end:
                        tile(
                            width, rows, end - begin, valid, depth, shift(memory, begin * size), size, 1, PACKED_WIDTH,
                            panel, width, start, shift(c, row * c_row + column), c_row, task,
                            shift(aux, row * aux_row + column), aux_row, lr,
                        )  # fmt: skip
                    row += rows * (end - begin)
                column += width


@inner_kernel
def _pack(rows: int, tiles: int, packed: Pointer, depth: int, a: Pointer, a_row: int, a_k: int) -> None:
    """Copy ``depth`` steps of some tiles of A, of so many ``rows`` each, to ``packed``."""
    size = depth * PACKED_WIDTH
    if a_k == 1:
        for number in range(tiles):
            source = shift(a, number * rows * a_row)
            pack_panel(shift(packed, number * size), PACKED_WIDTH, rows, depth, source, a_row, True)
    else:
        for number in range(0, tiles, _STRIP):
            count = min(_STRIP, tiles - number)
            pack_columns(rows, count, shift(packed, number * size), depth, shift(a, number * rows), a_k)

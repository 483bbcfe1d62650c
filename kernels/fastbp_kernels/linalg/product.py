"""The product of two matrices, cut into panels of B and tiles of rows."""

from __future__ import annotations

from fastbp_kernels.compiler.decorators import inlined_kernel, inner_kernel
from fastbp_kernels.compiler.elementwise import copy_loop, zero_loop
from fastbp_kernels.compiler.memory_pool import block_memory, borrow_block, return_block
from fastbp_kernels.compiler.pointers import Pointer, shift, stack_memory
from fastbp_kernels.compiler.vectors import LANE_BYTES
from fastbp_kernels.linalg.blocking import (
    IN_PLACE_ROWS,
    K_BLOCK,
    PAGE,
    PAGE_ROWS,
    PANEL_SIZE,
    START_SIZE,
    THIN,
    THIN_COLUMNS,
    THIN_ROWS,
    pays_packing,
    rows_in_place,
)
from fastbp_kernels.linalg.packed_product import packed_product
from fastbp_kernels.linalg.packing import ROOMY_ROWS, ROWS, TRANSPOSED, pack_panel
from fastbp_kernels.linalg.tile import ADD, STORE, TILE_ROWS, panel_width, tile

__all__ = ["K_BLOCK", "ROOMY_ROWS", "ROWS", "TRANSPOSED", "product", "transposed_product"]

# Of vectors: so many sums at once hide the time of each, and so many steps of k take the time of turning a number of C.
_LATENCY = 8
_TURNING = 4
_TURNED = 128  # columns of a transpose that is computed at once
_TURNED_SIZE = TILE_ROWS * _TURNED


@inner_kernel
def product(
    m: int, columns: int, k: int, a: Pointer, a_row: int, a_k: int, b: Pointer, b_row: int, b_kind: int,
    has_bias: bool, bias: Pointer, c: Pointer, c_row: int, epilogue: int, aux: Pointer, aux_row: int, lr: float,
) -> None:  # fmt: skip
    """Compute ``C = bias + A @ B`` and its epilogue.

    Parameters
    ----------
    m, columns, k : int
        A is (m, k), B is (k, columns), C is (m, columns); any of them may be 0.
    a, a_row, a_k; b, b_row; c, c_row; epilogue, aux, aux_row, lr
        As in ``tile``; FUSED_SGD for ``k`` up to ``K_BLOCK``.
    b_kind : int
        ROWS: B[j, c] is ``b[j * b_row + c]``. ROOMY_ROWS: the same, and what lies behind each row, up to the tile's
        width, may be read, whatever it is. TRANSPOSED: B[j, c] is ``b[c * b_row + j]``.
    has_bias : bool; bias : pointer
        Whether the sums start from the ``columns`` numbers at ``bias`` or from 0.
    """
    block = borrow_block() if pays_packing(m, columns, k, a_k == 1 and b_kind == TRANSPOSED) else 0
    if block:
        packed_product(
            m, columns, k, a, a_row, a_k, b, b_row, b_kind, has_bias, bias, c, c_row, epilogue, aux, aux_row, lr,
            block_memory(a, block),
        )  # fmt: skip
        return_block(block)
    else:
        product_in_place(
            m, columns, k, a, a_row, a_k, b, b_row, b_kind, has_bias, bias, c, c_row, epilogue, aux, aux_row, lr
        )


@inlined_kernel
def product_in_place(
    m: int, columns: int, k: int, a: Pointer, a_row: int, a_k: int, b: Pointer, b_row: int, b_kind: int,
    has_bias: bool, bias: Pointer, c: Pointer, c_row: int, epilogue: int, aux: Pointer, aux_row: int, lr: float,
) -> None:  # fmt: skip
    """Compute ``product`` with A read where it lies."""
    packed = stack_memory(a, PANEL_SIZE)
    start = stack_memory(a, START_SIZE)
    zero_loop(START_SIZE, start)
    thin = k <= THIN and columns >= THIN_COLUMNS and b_kind != TRANSPOSED
    page = PAGE // (2 * LANE_BYTES) * panel_width(a, 1 << 30)  # in elements; of so many columns, it is the widest
    pages_apart = a_k == 1 and a_row % page == 0
    m_block = THIN_ROWS if thin else rows_in_place() if k > K_BLOCK // 2 else 2 * rows_in_place()
    for top in range(0, m, m_block):
        height = min(m_block, m - top)
        tiles = (height + PAGE_ROWS - 1) // PAGE_ROWS if pages_apart else (height + TILE_ROWS - 1) // TILE_ROWS
        low, higher = height // tiles, height % tiles  # rows of a tile, and how many tiles have one more
        for first in range(0, max(k, 1), K_BLOCK):
            depth = min(K_BLOCK, k - first)
            ends = first + depth == k
            task = (epilogue if ends else epilogue & ADD) | (ADD if first else STORE)
            column = 0
            while column < columns:
                width = panel_width(a, columns - column)
                valid = min(width, columns - column)
                if has_bias:
                    zero_loop(START_SIZE, start)
                    if first == 0:
                        copy_loop(valid, shift(bias, column), start)
                panel, panel_row = packed, width
                readable = valid == width or b_kind == ROOMY_ROWS
                if b_kind != TRANSPOSED and readable and height <= IN_PLACE_ROWS:
                    panel, panel_row = shift(b, first * b_row + column), b_row
                elif b_kind == TRANSPOSED:
                    pack_panel(packed, width, valid, depth, shift(b, column * b_row + first), b_row, True)
                else:
                    pack_panel(packed, width, valid, depth, shift(b, first * b_row + column), b_row, False)
                row = top
                for rows, count in ((low + 1, higher), (low, tiles - higher)):
                    if count:
                        tile(
                            width, rows, count, valid, depth,
                            shift(a, row * a_row + first * a_k), rows * a_row, a_row, a_k, panel, panel_row, start,
                            shift(c, row * c_row + column), c_row, task, shift(aux, row * aux_row + column), aux_row,
                            lr,
                        )  # fmt: skip
                    row += rows * count
                column += width


@inner_kernel
def transposed_product(
    m: int, columns: int, k: int, a: Pointer, a_row: int, a_kind: int, b: Pointer, b_row: int, b_kind: int, c: Pointer,
    epilogue: int, lr: float,
) -> None:  # fmt: skip
    """Compute ``C = A.T @ B`` for A of shape (k, m) and C without gaps: the gradient of a weight.

    For narrow B as the transpose of ``B.T @ A``, which fills the lanes: a network's first layer often has few inputs.
    The bits are the same. Parameters as those of ``product``; the kinds are ROWS or ROOMY_ROWS.
    """
    wide = panel_width(c, 1 << 30)
    spared = m * ((2 * columns + wide - 1) // wide) - max(2 * columns, _LATENCY) * ((m + wide - 1) // wide)
    if columns > TILE_ROWS or k * spared < _TURNING * m * columns:
        product(m, columns, k, a, 1, a_row, b, b_row, b_kind, False, b, c, columns, epilogue, c, columns, lr)
        return
    turned = stack_memory(c, _TURNED_SIZE)
    for first in range(0, m, _TURNED):
        width = min(_TURNED, m - first)
        own = shift(c, first * columns)
        for column in range(columns):
            for row in range(width):
                turned[column * _TURNED + row] = own[row * columns + column]
        product(
            columns, width, k, b, 1, b_row, shift(a, first), a_row, a_kind, False, b, turned, _TURNED, epilogue, turned,
            _TURNED, lr,
        )  # fmt: skip
        for column in range(columns):
            for row in range(width):
                own[row * columns + column] = turned[column * _TURNED + row]

"""The sizes of blocks in products of matrices, and which products copy their rows of A.

``K_BLOCK`` is part of the numbers: another value gives other last digits. All else here changes no bit.
"""

from __future__ import annotations

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.memory_pool import BLOCK_BYTES
from fastbp_kernels.compiler.vectors import LANE_BYTES
from fastbp_kernels.linalg.tile import TILE_ROWS

K_BLOCK = 256  # steps of k that the tile sums before they are added to what the earlier ones gave

PAGE = 4096  # bytes: rows that are a multiple of a page apart share few places of the first cache
# Elements of a panel of B, and of a row of it: those of the widest tile, of float32.
START_SIZE = 2 * LANE_BYTES // 4
PANEL_SIZE = K_BLOCK * START_SIZE

# Where A is read where it lies.
# Rows of A that go through all panels before the next: with K_BLOCK, what the second cache holds. Of half the steps it
# holds twice as many.
M_BLOCK = 256
THIN = 64  # with so few steps of k, C takes the time, not the sums: it is gone through by rows, as it lies in memory
THIN_ROWS, THIN_COLUMNS = 2 * TILE_ROWS, 256  # such blocks of rows; and less wide than that, C is in cache anyway
# Rows of a tile where A's lie pages apart: fewer than the places that they share in the first cache. A higher tile
# would read each of them from the second at every step.
PAGE_ROWS = min(6, TILE_ROWS)
IN_PLACE_ROWS = 16 * TILE_ROWS  # so few rows of A do not repay copying rows of B that the tile can read where they lie

# Where A is packed, tile by tile: a step of k takes ``PACKED_WIDTH`` elements of a tile's memory, for as many rows or
# fewer. Tiles of 8 and of 10 rows are equally fast.
PACKED_WIDTH = 8
PACKED_TILE_ROWS = min(PACKED_WIDTH, TILE_ROWS)
# Rows that go through all panels of B together: each panel is packed once for them. Packed, they stream from the last
# cache as fast as the tile takes them.
PACKED_ROWS = BLOCK_BYTES // (8 * K_BLOCK * PACKED_WIDTH) * PACKED_TILE_ROWS
# Fewer rows, columns or steps do not repay packing A.
PACKED_LEAST = 64


@inner_kernel
def pays_packing(m: int, columns: int, k: int, a_k: int) -> bool:
    """Return whether the product of A, (m, k), and B, (k, columns), is faster where A is packed."""
    return a_k != 1 and m >= PACKED_LEAST and columns >= PACKED_LEAST and k >= PACKED_LEAST

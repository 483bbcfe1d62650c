"""The sizes of blocks in products of matrices, and which products copy their rows of A.

``K_BLOCK`` is part of the numbers: another value gives other last digits. All else here changes no bit. ``SIZES``
follow from the caches of the machine that the process runs on; they are no part of the compiled code.
"""

from __future__ import annotations

from typing import NamedTuple

from fastbp_kernels.compiler.cache_sizes import CacheSizes, cache_sizes
from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.memory_pool import BLOCK_BYTES
from fastbp_kernels.compiler.shared_numbers import shared_numbers
from fastbp_kernels.compiler.vectors import LANE_BYTES
from fastbp_kernels.linalg.tile import TILE_ROWS

K_BLOCK = 256  # steps of k that the tile sums before they are added to what the earlier ones gave

PAGE = 4096  # bytes: rows that are a multiple of a page apart share few places of the first cache
# Elements of a panel of B, and of a row of it: those of the widest tile, of float32.
START_SIZE = 2 * LANE_BYTES // 4
PANEL_SIZE = K_BLOCK * START_SIZE

# Where A is read where it lies.
THIN = 64  # with so few steps of k, C takes the time, not the sums: it is gone through by rows, as it lies in memory
THIN_ROWS, THIN_COLUMNS = 2 * TILE_ROWS, 256  # such blocks of rows; and less wide than that, C is in cache anyway
# Rows of a tile where A's lie pages apart: fewer than the places that they share in the first cache. A higher tile
# would read each of them from the second at every step.
PAGE_ROWS = min(6, TILE_ROWS)
IN_PLACE_ROWS = 16 * TILE_ROWS  # so few rows of A do not repay copying rows of B that the tile can read where they lie

# Where A and B are packed. A step of k takes ``PACKED_WIDTH`` elements of a tile of A, for as many rows or fewer: tiles
# of 8 and of 10 rows are equally fast.
PACKED_WIDTH = 8
PACKED_TILE_ROWS = min(PACKED_WIDTH, TILE_ROWS)
# Panels that are packed side by side, and used before the next: some cache lines of each row of B are read together.
PANEL_STRIP = 8

# What repays packing: operations, and the least of rows, columns and steps. B that is transposed on the way is read in
# order anyway, so that packing it pays where it would be packed for more than one block of rows.
_PACKED_OPERATIONS, _PACKED_LEAST = 1 << 21, 64


class BlockSizes(NamedTuple):
    """Sizes that suit the caches of a machine.

    Attributes
    ----------
    rows_in_place : int
        Rows of A, read where they lie, that go through all panels before the next, of ``K_BLOCK`` steps: what the
        second cache holds of float64. Of half the steps it holds twice as many.
    packed_tiles : int
        Packed tiles of A that go through all panels together. Measured on AMD's Zen 3, whose second cache has 512 KiB:
        with twice as many, float64's outputs lie in more pages than a core finds at once, and half as many read the
        panels too often.
    """

    rows_in_place: int
    packed_tiles: int


def block_sizes(caches: CacheSizes) -> BlockSizes:
    """Return the sizes that suit ``caches``, within what was tried."""
    packed_tile = 8 * K_BLOCK * PACKED_WIDTH  # bytes, of float64
    rows = caches.second // (8 * K_BLOCK)
    return BlockSizes(min(max(rows, 128), 512), min(max(caches.second // packed_tile, 86), 128))


SIZES = block_sizes(cache_sizes())
in_use, _sizes = shared_numbers("block_sizes", SIZES)


@inner_kernel
def rows_in_place() -> int:
    """Return the number of this process's ``BlockSizes``."""
    rows: int = _sizes()[0]  # type: ignore[assignment]
    return rows


@inner_kernel
def packed_tiles() -> int:
    """Return the number of this process's ``BlockSizes``."""
    tiles: int = _sizes()[1]  # type: ignore[assignment]
    return tiles


@inner_kernel
def packed_panels(tiles: int) -> int:
    """Return the panels of B that are packed for all rows: what ``tiles`` of A leave of a block of memory."""
    return (BLOCK_BYTES - 8 * K_BLOCK * PACKED_WIDTH * tiles) // (K_BLOCK * 2 * LANE_BYTES)


@inner_kernel
def pays_packing(m: int, columns: int, k: int, reads_runs: bool) -> bool:
    """Return whether the product of A, (m, k), and B, (k, columns), is faster where both are packed.

    ``reads_runs`` tells that rows of A and columns of B lie in one run each.
    """
    if m * columns * k < _PACKED_OPERATIONS:
        return False
    return min(m, columns) >= (rows_in_place() + 1 if reads_runs else _PACKED_LEAST) and k >= _PACKED_LEAST

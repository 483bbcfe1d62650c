"""Which part of the work a thread does."""

from __future__ import annotations

from fastbp_kernels.compiler.decorators import inner_kernel


@inner_kernel
def rank_range(count: int, granule: int, rank: int, ranks: int) -> tuple[int, int]:
    """Return the first and the last + 1 of ``count`` things that ``rank`` works on, cut at multiples of ``granule``."""
    if ranks == 1:  # small networks would notice the divisions
        return 0, count
    granules = (count + granule - 1) // granule
    return min(count, granules * rank // ranks * granule), min(count, granules * (rank + 1) // ranks * granule)


COLUMNS = 32  # of a product are cut at multiples of so many: whole tiles and cache lines


@inner_kernel
def rank_rectangle(rows: int, columns: int, rank: int, ranks: int) -> tuple[int, int, int, int]:
    """Return the part of a product's outputs that ``rank`` computes: its first row, last + 1, first column, last + 1.

    The ranks stand in a grid. Of all grids it is the one whose rectangles have the fewest rows and columns together:
    each of them stands for a row or a column of what is multiplied, which this rank reads and packs.
    """
    across, least = 1, rows + columns
    strips = (columns + COLUMNS - 1) // COLUMNS
    for number in range(1, ranks + 1):
        if ranks % number == 0:
            down = ranks // number
            read = (rows + down - 1) // down + min(columns, (strips + number - 1) // number * COLUMNS)
            if read < least:
                across, least = number, read
    top, bottom = rank_range(rows, 1, rank // across, ranks // across)
    left, right = rank_range(columns, COLUMNS, rank % across, across)
    return top, bottom, left, right

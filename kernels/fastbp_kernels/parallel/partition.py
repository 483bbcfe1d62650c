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

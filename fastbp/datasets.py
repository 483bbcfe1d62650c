"""Made data."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np

from fastbp.validation.arrays import Array, RandomSource


def disk(n: int, rng: RandomSource = None) -> tuple[Array, Array]:
    """Draw points uniformly from the unit square and tell which lie in the disk that covers half of it.

    Parameters
    ----------
    n : int
        Number of points.
    rng : numpy.random.Generator, int or None
        Source of the points, or its seed.

    Returns
    -------
    inputs : ndarray of float32, shape (n, 2)
    targets : ndarray of float32, shape (n, 2)
        One-hot: column 1 is 1 for points within 1 / sqrt(2 pi) of (0.5, 0.5), column 0 for all others.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
        raise ValueError(f"disk takes n as an int of 0 or more, got {n!r}")
    inputs = np.random.default_rng(rng).random((n, 2), np.float32)
    inside = np.hypot(*(inputs - np.float32(0.5)).T) < 1 / sqrt(2 * pi)
    return inputs, np.eye(2, dtype=np.float32)[inside.astype(np.intp)]

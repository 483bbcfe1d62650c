"""Sparse samples, made dense some rows at a time: the engine takes dense ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbp.validation.arrays import Array

# Numbers that are dense at a time: 8 MiB of float64. An epoch of 4,000 rows of 2,000 features, one in a hundred of them
# set, to 10 hidden units took 40 ms with it, 43 ms with 512 KiB, 61 ms with 64 MiB, and 53 ms dense as a whole.
_AT_A_TIME = 1 << 20
# Up to so many in all, 64 MiB, everything is made dense once: an epoch of 2,000 rows of 50 features to 20 hidden units
# took 0.6 ms so, and 1.2 ms and more from the matrix.
_AT_ONCE = 1 << 23


class SparseRows:
    """Rows of a sparse matrix.

    Parameters
    ----------
    matrix : sparse matrix or array of shape (n, i)
    dtype : numpy.dtype
        Of the dense rows.
    """

    def __init__(self, matrix: Any, dtype: np.dtype[Any]) -> None:
        self._matrix = matrix.tocsr().astype(dtype, copy=False)
        self.dtype = dtype

    def __len__(self) -> int:
        return int(self._matrix.shape[0])

    def dense(self, rows: Any = slice(None)) -> Array:
        """Return these rows, a slice or an array of their numbers, as a C-contiguous array (k, i)."""
        array: Array = self._matrix[rows].toarray(order="C")
        return array

    def rows_at_a_time(self, mini_batch_size: int) -> int:
        """Return how many rows may be dense at a time: whole mini-batches, one at the least."""
        most = _AT_A_TIME // max(1, self._matrix.shape[1])
        count: int = max(1, most // mini_batch_size) * mini_batch_size
        return count

    def blocks(self) -> Iterator[Array]:
        """Yield all rows in order, dense, some at a time."""
        step = self.rows_at_a_time(1)
        for start in range(0, len(self), step):
            yield self.dense(slice(start, start + step))


def rows_of(matrix: Any, dtype: np.dtype[Any]) -> Array | SparseRows:
    """Return the rows of a sparse matrix: dense where they are few."""
    rows = SparseRows(matrix, dtype)
    return rows if np.prod(matrix.shape, dtype=np.float64) > _AT_ONCE else rows.dense()

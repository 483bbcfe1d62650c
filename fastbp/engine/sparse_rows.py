"""Rows of a sparse matrix as the engine reads them, in a network whose first layer is a ``Linear``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.validation.arrays import Array
from fastbp_kernels.layers.table import INTEGERS

_FLOP = 16  # operations of dense rows that take as long as one stored number and output


class SparseRows:
    """Rows of a compressed sparse matrix: copies of its arrays, which nobody else can change.

    Parameters
    ----------
    matrix : sparse matrix or array of shape (n, i)
        For which ``require_compressed`` does not raise.
    dtype : numpy.dtype
        float32 or float64.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    numbers : ndarray of ``dtype``, (n, 1) or (n, 2)
        The bits of the rows' numbers as int64: what the engine takes for their features, and gathers.
    """

    ndim = 2

    def __init__(self, matrix: Any, dtype: np.dtype[Any]) -> None:
        rows = matrix.tocsr()
        self.shape, self.dtype = tuple(map(int, matrix.shape)), dtype
        if not rows.has_canonical_format:
            rows = rows.copy()
            rows.sum_duplicates()  # which sorts the columns
        stored = int(rows.indptr[-1])
        self._starts = np.array(rows.indptr, np.int64)
        self._columns = np.array(rows.indices[:stored], np.int32)
        self._values = np.array(rows.data[:stored], dtype)
        self.numbers = np.arange(self.shape[0], dtype=np.int64).view(dtype).reshape(self.shape[0], 8 // dtype.itemsize)

    def __len__(self) -> int:
        return self.shape[0]

    def dense(self, rows: Array | slice) -> Array:
        """Return these rows, a slice or an array of their numbers, as a new array (k, i)."""
        numbers = np.arange(len(self))[rows]
        starts, counts = self._starts[numbers], self._starts[numbers + 1] - self._starts[numbers]
        places = np.repeat(starts - counts.cumsum() + counts, counts) + np.arange(counts.sum())
        array = np.zeros((len(numbers), self.shape[1]), self.dtype)
        array[np.repeat(np.arange(len(numbers)), counts), self._columns[places]] = self._values[places]
        return array

    def write_to(self, layers: Array) -> None:
        """Have the engine's table read these rows, which live as long as it is used."""
        arrays = self._values, self._columns, self._starts
        layers[0, INTEGERS : INTEGERS + len(arrays)] = [array.ctypes.data for array in arrays]

    def spared_flop(self, outputs: int) -> int:
        """Return by how much less a first layer of so many outputs takes for a row on average than for a dense one."""
        rows, features = self.shape
        return outputs * (2 * features - min(2 * features, _FLOP * self._columns.size // max(rows, 1)))


def require_compressed(matrix: Any) -> None:
    """Raise ValueError unless all that is read of a matrix in the format "csr" or "csc" lies within its arrays."""
    starts, indices, (lines, places) = matrix.indptr, matrix.indices, matrix.shape
    if matrix.format == "csc":
        lines, places = places, lines
    fits = starts.shape == (lines + 1,) and starts[0] == 0 and bool((starts[1:] >= starts[:-1]).all())
    fits = fits and starts[-1] <= min(indices.size, matrix.data.size) and matrix.shape[1] <= np.iinfo(np.int32).max
    stored = indices[: starts[-1]] if fits else indices
    if not fits or (stored.size and not (stored.min() >= 0 and stored.max() < places)):
        raise ValueError(
            f"a sparse matrix of shape {matrix.shape} takes indices from 0 to {places - 1}, and {lines + 1} numbers in "
            "indptr that rise from 0 to the number of indices, got others; build it anew from its rows and columns"
        )

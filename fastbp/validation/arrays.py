"""What every public function asks of the arrays it is handed, and memory as the kernels want it."""

from __future__ import annotations

from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastbp.validation.foreign import require_array

Array: TypeAlias = npt.NDArray[Any]
"""An array of float32 or float64."""

RandomSource: TypeAlias = np.random.Generator | int | None
"""A ``numpy.random.Generator``, a seed for one, or None for fresh entropy."""

FLOAT_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


def require_dtype(dtype: npt.DTypeLike, owner: str) -> np.dtype[Any]:
    """Return ``dtype`` as a ``numpy.dtype``, float32 (also for None, as in PyTorch) or float64, or raise TypeError."""
    try:
        resolved = np.dtype(np.float32 if dtype is None else dtype)
    except TypeError:
        raise TypeError(f"{owner} takes dtype numpy.float32 or numpy.float64, got {dtype!r}") from None
    if resolved not in FLOAT_DTYPES:
        raise TypeError(f"{owner} computes in float32 or float64, got dtype {resolved}")
    return resolved


def require_generator(rng: RandomSource, owner: str) -> np.random.Generator:
    """Return the generator that ``rng`` is, or a new one seeded by it, or raise TypeError or ValueError."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{owner} takes rng as a numpy.random.Generator, a seed of 0 or more, or None, got {rng!r}"
        ) from None


def require_floats(array: Any, owner: str, dtype: np.dtype[Any] | None = None) -> Array:
    """Return ``array`` itself if it is a NumPy array of ``dtype`` (either float dtype if None), or raise TypeError."""
    if type(array) is np.ndarray and (array.dtype in FLOAT_DTYPES if dtype is None else array.dtype == dtype):
        return array
    found = require_array(array, owner) if dtype is None else require_array(array, owner, (dtype.name,))
    if found.dtype not in (FLOAT_DTYPES if dtype is None else (dtype,)):
        raise TypeError(
            f"{owner} takes {dtype or 'float32 or float64'} arrays, got {found.dtype}; "
            f"convert with .astype(numpy.{dtype or 'float32'})"
        )
    return found


def plain(array: Array) -> Array:
    """Return ``array`` to be read: as an aligned, writeable and C-contiguous array of NumPy's own class.

    The kernels are compiled for that one kind of array. Where its layout is another, this is a copy; where it is merely
    read-only, such as the output of a module or a file that is mapped into memory, a view. What others are to see of
    such a view goes through ``guarded``.
    """
    if type(array) is not np.ndarray:  # such as numpy.memmap
        array = array.view(np.ndarray)
    flags = array.flags
    if flags.carray:
        return array
    if not (flags.c_contiguous and flags.aligned):
        return array.copy(order="C")
    base = array.base
    if type(base) is np.ndarray and base.shape == array.shape and base.dtype is array.dtype and base.flags.carray:
        return base  # of as many bytes, so that it is all of it
    array = array.view()
    try:
        array.flags.writeable = True  # of this view alone
    except ValueError:
        return np.asarray(_ReadOnlyMemory(array))
    return array


class _ReadOnlyMemory:
    """Memory that may not be written, such as that of bytes or of a file, as NumPy takes it for writeable."""

    def __init__(self, array: Array) -> None:
        self.array = array  # which keeps the memory
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def guarded(array: Array) -> Array:
    """Return what ``plain`` returned, or a view of it, as a read-only array where the memory may not be written.

    A write by a user's function would end the process.
    """
    base: Any = array.base
    while type(base) is np.ndarray:
        base = base.base
    if type(base) is _ReadOnlyMemory:
        array = array.view()
        array.flags.writeable = False
    return array


def as_rows(array: Array) -> Array:
    """View a C-contiguous array of shape (..., features) as (n, features)."""
    return array if array.ndim == 2 else array.reshape(prod(array.shape[:-1]), array.shape[-1])


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> Array:
    """Return a vector of zeros that starts at a cache line (``numpy.zeros`` promises 16 bytes)."""
    raw = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size * dtype.itemsize].view(dtype)

"""The memory of a model's parameters and of their gradients."""

from __future__ import annotations

from typing import Any
from weakref import ref

import numpy as np

from fastbp.runtime.derived import Derived, Source
from fastbp.runtime.model_lock import ModelLock
from fastbp.validation.arrays import Array, aligned_zeros


class Storage(Source):
    """The parameters and gradients of one model: two aligned vectors of the same size.

    Copies and pickles are made while nobody changes them, without the gradients, as in PyTorch, and own their memory:
    arrays that are read from a file or from another process may lie where nobody may write, or where others do.

    Parameters
    ----------
    size : int
        Number of parameters.
    dtype : numpy.dtype

    Attributes
    ----------
    data, grad : ndarray
    lock : ModelLock
    found : object
        What was found out about gradients of which the first lies here: see ``fastbp.nn.utils.gradients``.
    """

    __slots__ = ("_told", "data", "found", "grad", "lock")

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        self._told: list[ref[Derived]] = []
        self.data = aligned_zeros(size, dtype)
        self.grad = aligned_zeros(size, dtype)
        self.lock = ModelLock()
        self.found: Any = None

    @property
    def _derived_from_this(self) -> list[ref[Derived]]:
        return self._told

    def __reduce__(self) -> tuple[Any, ...]:
        with self.lock:
            self.lock.require_free()
            return _storage_of, (self.data.copy(),)


def _storage_of(data: Array, *grad: Array) -> Storage:
    """Return a storage of a copy of parameters; earlier pickles have their gradients too."""
    storage = Storage(data.size, data.dtype)
    storage.data[...] = data
    return storage

"""The memory of what modules and losses hand out: used again once nobody holds what lay in it."""

from __future__ import annotations

from math import prod
from sys import getrefcount
from typing import Any, cast

import numpy as np

from fastbp.validation.arrays import aligned_zeros, as_rows

_BYTE = np.dtype(np.uint8)
_MOST_SLOTS = 4  # in a buffer; a loop needs two, since the name of the last output still holds it during the next call


class _Memory(np.ndarray[Any, np.dtype[np.uint8]]):
    """The bytes under an array: of a class of its own, at which NumPy's search for a view's ``base`` ends."""


class Slot:
    """An array of a ``Buffer``.

    NumPy makes ``array`` or ``readonly`` the ``base`` of every view of them, of views of views too, so that their
    reference counts tell whether somebody holds one: a user an output, or a pass what its backward reads.

    Parameters
    ----------
    bytes : _Memory
        With room for the array.
    shape : tuple of int
    dtype : numpy.dtype

    Attributes
    ----------
    array : ndarray
        For the library alone: it is never handed out, so that nobody changes its shape or flags.
    rows : ndarray of shape (n, features)
        The same.
    readonly : ndarray
        ``readonly.view()`` is what others get to read.
    """

    __slots__ = ("alone", "array", "bytes", "dtype", "readonly", "rows", "shape")

    def __init__(self, bytes: _Memory, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.bytes, self.shape, self.dtype = bytes, shape, dtype
        self.array = np.ndarray(shape, dtype, cast(_Memory, bytes[: prod(shape) * dtype.itemsize]))
        self.rows = as_rows(self.array) if shape else self.array
        self.readonly = self.array.view()
        self.readonly.flags.writeable = False
        self.alone = getrefcount(self.array) + getrefcount(self.readonly)

    def is_held(self) -> bool:
        """Whether somebody holds what was handed out."""
        return getrefcount(self.array) + getrefcount(self.readonly) != self.alone


class Buffer:
    """Arrays that are filled again and again, each only when nobody holds it any more.

    A loop that gives up each output for the next one allocates nothing. Whoever keeps outputs keeps their numbers:
    further ones get other memory. Copies and pickles of a buffer are empty.
    """

    __slots__ = ("slots",)

    def __init__(self) -> None:
        self.slots: list[Slot] = []  # the one handed out longest ago first

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Slot:
        """Return a slot that nobody holds, whose array is C-contiguous, of ``shape`` and ``dtype``.

        Its numbers are unspecified.
        """
        slots = self.slots
        if slots:
            slot = slots[0]
            if slot.shape == shape and slot.dtype is dtype and not slot.is_held():
                if len(slots) > 1:
                    del slots[0]
                    slots.append(slot)
                return slot
        return self._search(shape, dtype)

    def _search(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Slot:
        """Return a free slot of any shape that has room, as one of ``shape``, or a new one."""
        size = prod(shape) * dtype.itemsize
        free = [slot for slot in self.slots if not slot.is_held()]
        old = next((slot for slot in free if slot.bytes.size >= size), None)
        if old is None:
            slot = Slot(aligned_zeros(size, _BYTE).view(_Memory), shape, dtype)
        elif old.shape == shape and old.dtype == dtype:
            slot = old
        else:
            slot = Slot(old.bytes, shape, dtype)
        others = [other for other in self.slots if other is not old and (other not in free or other.bytes.size >= size)]
        self.slots = [*others[-(_MOST_SLOTS - 1) :], slot]
        return slot

    def __reduce__(self) -> tuple[type[Buffer], tuple[()]]:
        return Buffer, ()

"""The memory of what modules and losses hand out: used again once nobody holds what lay in it."""

from __future__ import annotations

from math import prod
from sys import getrefcount
from typing import Any, cast

import numpy as np

from fastbp.validation.arrays import Array, aligned_zeros, as_rows

_BYTE = np.dtype(np.uint8)
_MOST_SLOTS = 4  # in a buffer; a loop needs two, since the name of the last output still holds it during the next call


class Memory(np.ndarray[Any, np.dtype[np.uint8]]):
    """The bytes under an output or a gradient, and which forward they belong to; see ``fastbp.nn.last_forward``.

    Attributes
    ----------
    output_of : int or None
        Token of the forward whose output lies here.
    input_since : int or None
        The same token, once another forward has taken that output as its input.
    gradient_for : int or None
        Token of the forward for whose output a gradient lies here.
    """

    output_of: int | None = None
    input_since: int | None = None
    gradient_for: int | None = None


class Slot:
    """An array of a ``Buffer``.

    NumPy makes ``array`` the ``base`` of every view of it, of views of views too, so that its reference count tells
    whether somebody holds one.

    Parameters
    ----------
    bytes : Memory
        With room for the array.
    shape : tuple of int
    dtype : numpy.dtype

    Attributes
    ----------
    array : ndarray
        For the owner alone: it is never handed out, so that nobody changes its shape or flags.
    rows : ndarray of shape (n, features)
        The same.
    memory : Memory
        Under it.
    readonly : ndarray
        ``readonly.view()`` is what others get to read.
    awaits_backward : bool
        Whether it holds an output that no backward has followed.
    changes : object
        Those of the parameters that this output was computed with.
    """

    __slots__ = (
        "alone", "array", "awaits_backward", "bytes", "changes", "dtype", "memory", "readonly", "rows", "shape",
    )  # fmt: skip

    def __init__(self, bytes: Memory, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.bytes, self.shape, self.dtype = bytes, shape, dtype
        self.awaits_backward = False
        self.changes: object = None
        self.memory = cast(Memory, bytes[: prod(shape) * dtype.itemsize])
        self.array = np.ndarray(shape, dtype, self.memory)
        self.rows = as_rows(self.array) if shape else self.array
        self.readonly = self.array.view()
        self.readonly.flags.writeable = False
        self.alone = getrefcount(self.array)

    def is_held(self) -> bool:
        """Whether somebody holds what was handed out."""
        return getrefcount(self.array) != self.alone

    def is_held_by_user(self) -> bool:
        """Whether it is somebody else than the module that took this output as its input."""
        is_input = self.memory.input_since is not None and self.memory.input_since == self.memory.output_of
        return getrefcount(self.array) - self.alone > is_input


class Buffer:
    """Arrays that their owner fills again and again, each only when nobody holds it any more.

    A loop that gives up each output for the next one allocates nothing. Whoever keeps outputs keeps their numbers:
    further ones get other memory. Copies and pickles of a buffer are empty.
    """

    __slots__ = ("slots",)

    def __init__(self) -> None:
        self.slots: list[Slot] = []  # the one handed out longest ago first

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Slot:
        """Return a slot that nobody holds, whose array is C-contiguous, of ``shape`` and ``dtype``.

        Its numbers are unspecified, and may be those of the owner's last output, to be written over.
        """
        slots = self.slots
        if slots:
            slot = slots[0]
            if slot.shape == shape and slot.dtype is dtype and getrefcount(slot.array) == slot.alone:
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
            slot = Slot(aligned_zeros(size, _BYTE).view(Memory), shape, dtype)
        elif old.shape == shape and old.dtype == dtype:
            slot = old
        else:  # not the same object: its owner may still remember an output there
            slot = Slot(old.bytes, shape, dtype)
        others = [other for other in self.slots if other is not old and (other not in free or other.bytes.size >= size)]
        self.slots = [*others[-(_MOST_SLOTS - 1) :], slot]
        return slot

    def __reduce__(self) -> tuple[type[Buffer], tuple[()]]:
        return Buffer, ()


def memory_of(array: Array) -> Memory | None:
    """Return the memory of an array that was handed out whole, of all its numbers in order; None for any other."""
    base = array.base
    if type(base) is not np.ndarray:
        return None
    memory = base.base
    if type(memory) is not Memory or array.nbytes != base.nbytes or not array.flags.c_contiguous:
        return None
    return memory

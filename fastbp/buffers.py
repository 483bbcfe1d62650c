"""The memory of what modules and losses hand out: used again once nobody holds what lay in it."""

from __future__ import annotations

from math import prod
from sys import getrefcount
from typing import Any, cast

import numpy as np

from fastbp.arrays import Array, aligned_zeros

_MOST_SLOTS = 4  # in a buffer; a loop needs two, since the name of the last output still holds it during the next call


class Memory(np.ndarray[Any, np.dtype[np.uint8]]):
    """The bytes under an output or a gradient, and which forward they belong to; see ``fastbp.nn.last_forward``.

    Attributes
    ----------
    output_of : int or None
        Token of the forward whose output lies here.
    awaits_backward : bool
        Whether no backward has followed that forward.
    changes : object
        Those of the parameters that it took.
    gradient_for : int or None
        Token of the forward for whose output a gradient lies here.
    """

    output_of: int | None = None
    awaits_backward: bool = False
    changes: object = None
    gradient_for: int | None = None


class Slot:
    """An array of a ``Buffer``.

    NumPy makes ``array`` the ``base`` of every view of it, of views of views too, so that its reference count tells
    whether somebody holds one.

    Attributes
    ----------
    array : ndarray
        For the owner alone: it is never handed out, so that nobody changes its shape or flags.
    memory : Memory
        Under it.
    readonly : ndarray
        ``readonly.view()`` is what others get to read.
    """

    __slots__ = ("_alone", "_bytes", "array", "memory", "readonly", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._bytes = aligned_zeros(prod(shape) * dtype.itemsize, np.dtype(np.uint8)).view(Memory)
        self._become(shape, dtype)

    def of(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return ``array`` with this shape and dtype, for which there must be room."""
        if self.shape != shape or self.array.dtype != dtype:
            self._become(shape, dtype)
        return self.array

    def _become(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.memory = cast(Memory, self._bytes[: prod(shape) * dtype.itemsize])
        self.array = np.ndarray(shape, dtype, self.memory)
        self.readonly = self.array.view()
        self.readonly.flags.writeable = False
        self.shape = shape
        self._alone = getrefcount(self.array)

    def fits(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        """Whether there is room for such an array."""
        return prod(shape) * dtype.itemsize <= self._bytes.size

    def is_held(self) -> bool:
        """Whether somebody holds what was handed out."""
        return getrefcount(self.array) != self._alone


class Buffer:
    """Arrays that their owner fills again and again, each only when nobody holds it any more.

    A loop that gives up each output for the next one allocates nothing. Whoever keeps outputs keeps their numbers:
    further ones get other memory. Copies and pickles of a buffer are empty.
    """

    __slots__ = ("_slots",)

    def __init__(self) -> None:
        self._slots: list[Slot] = []  # the one handed out longest ago first

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Slot:
        """Return a slot with room for such an array that nobody holds.

        What lies there is left until ``slot.of(shape, dtype)`` returns the array, C-contiguous, to be written over.
        """
        slots = self._slots
        for position, slot in enumerate(slots):
            if slot.shape == shape and slot.array.dtype == dtype and not slot.is_held():
                if position < len(slots) - 1:
                    slots.append(slots.pop(position))
                return slot
        return self._make(shape, dtype)

    def _make(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Slot:
        """Return a free slot that has room, or a new one in the place of those without room."""
        free = [slot for slot in self._slots if not slot.is_held()]
        slot = next((slot for slot in free if slot.fits(shape, dtype)), None) or Slot(shape, dtype)
        others = [other for other in self._slots if other is not slot and (other.is_held() or other.fits(shape, dtype))]
        self._slots = [*others[-(_MOST_SLOTS - 1) :], slot]
        return slot

    def held(self) -> list[Memory]:
        """Return what lies under the arrays that somebody holds."""
        return [slot.memory for slot in self._slots if slot.is_held()]

    def __reduce__(self) -> tuple[type[Buffer], tuple[()]]:
        return Buffer, ()


def memory_of(array: Array) -> Memory | None:
    """Return the memory of an array that was handed out whole, of its numbers in their order; None for any other."""
    base = array.base
    if type(base) is not np.ndarray or type(base.base) is not Memory:
        return None
    return base.base if base.size and base.shape == array.shape and base.strides == array.strides else None

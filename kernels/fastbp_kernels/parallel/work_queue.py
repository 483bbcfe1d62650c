"""Work that one thread offers and others take when they are free.

The threads share a vector of int64, zeros at first: a slot for each piece of work that may wait, on a cache line of
its own, and behind them one that tells whether more will come. What a thread wrote before it changed a slot is visible
to those that see the change.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic
from fastbp_kernels.compiler.pointers import Pointer, shift
from fastbp_kernels.compiler.vectors import INT64
from fastbp_kernels.parallel.barrier import offer_core

_LINE = 8  # int64 of a cache line
_FREE, _TAKEN = 0, -1  # of a slot; else it holds the number of a piece of work, from 1 on
_SPINS = 10_000  # searches for work before the core is offered to another thread


def queue_size(slots: int) -> int:
    """Return the size of the vector for so many slots."""
    return (slots + 1) * _LINE


@inner_kernel
def free_slot(queue: Pointer, slots: int) -> int:
    """Return a slot that holds no work, or -1. For the thread that offers."""
    for slot in range(slots):
        if _look(shift(queue, slot * _LINE)) == _FREE:
            return slot
    return -1


@inner_kernel
def offer(queue: Pointer, slot: int, number: int) -> None:
    """Offer the piece of work ``number``, 0 or more, at a free slot."""
    _put(shift(queue, slot * _LINE), number + 1)


@inner_kernel
def close(queue: Pointer, slots: int) -> None:
    """Tell the others that no more will come."""
    _put(shift(queue, slots * _LINE), 1)


@inner_kernel
def take(queue: Pointer, slots: int) -> tuple[int, int]:
    """Wait for a piece of work and return its number and its slot, or -1 and -1 if none is left and none will come."""
    spins = 0
    while True:
        closed = _look(shift(queue, slots * _LINE))  # first: then whatever was offered is there to be found
        for slot in range(slots):
            number = _look(shift(queue, slot * _LINE))
            if number > _FREE and _claim(shift(queue, slot * _LINE), number):
                return number - 1, slot
        if closed:
            return -1, -1
        spins += 1
        if spins > _SPINS:
            offer_core()


@inner_kernel
def finish(queue: Pointer, slot: int) -> None:
    """Free the slot of a piece of work that was taken and is done."""
    _put(shift(queue, slot * _LINE), _FREE)


@intrinsic
def _look(typing_context: Context, slot: types.CPointer) -> Definition:
    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        return builder.load_atomic(arguments[0], "acquire", 8)

    return types.int64(slot), codegen


@intrinsic
def _put(typing_context: Context, slot: types.CPointer, value: types.Integer) -> Definition:
    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        slot, value = arguments
        builder.store_atomic(value, slot, "release", 8)
        return context.get_dummy_value()

    return types.void(slot, types.int64), codegen


@intrinsic
def _claim(typing_context: Context, slot: types.CPointer, number: types.Integer) -> Definition:
    """Put ``_TAKEN`` where ``number`` stands still; return whether it did."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        slot, number = arguments
        outcome = builder.cmpxchg(slot, number, INT64(_TAKEN), "acq_rel", "monotonic")
        return builder.extract_value(outcome, 1)

    return types.boolean(slot, types.int64), codegen

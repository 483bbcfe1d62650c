"""Memory that kernels borrow while they compute: more than a thread's stack may have room for.

Blocks of ``BLOCK_BYTES`` are kept in slots that all threads share. Who borrows one empties its slot, or has a new block
allocated where all slots are empty; who returns it fills one. So there are as many blocks as ever were borrowed at the
same time, and none is allocated once those are there. Nobody waits. A process that forks takes the blocks in the slots
with it, and loses those that other threads have borrowed.
"""

from __future__ import annotations

import ctypes
from typing import Any

from llvmlite import binding, ir
from numba import types

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.pointers import CACHE_LINE, Pointer, pointer_at, shift
from fastbp_kernels.compiler.shared_numbers import shared_numbers
from fastbp_kernels.compiler.vectors import INT64

BLOCK_BYTES = 4 << 20
SLOTS = 64  # more borrowers at a time are served too, but their blocks are freed when they return them

_addresses, _slots = shared_numbers("memory_pool_slots", [0] * SLOTS)  # of the blocks in the slots, or 0

_ALLOCATE, _FREE = "fastbp_memory_pool_allocate", "fastbp_memory_pool_free"
# Python's, which need no GIL: they are there on every system, and tracemalloc sees what is allocated.
for _name, _function in ((_ALLOCATE, ctypes.pythonapi.PyMem_RawMalloc), (_FREE, ctypes.pythonapi.PyMem_RawFree)):
    binding.add_symbol(_name, ctypes.cast(_function, ctypes.c_void_p).value)


@inner_kernel
def borrow_block() -> int:
    """Return a block, or 0 if there is no memory; ``return_block`` takes it back."""
    kept = _slots()
    for slot in range(SLOTS):
        block: int = _take(shift(kept, slot))
        if block:
            return block
    new: int = _allocate(BLOCK_BYTES + CACHE_LINE)
    return new


@inner_kernel
def return_block(block: int) -> None:
    """Keep a block for who borrows next."""
    kept = _slots()
    for slot in range(SLOTS):
        if _put(shift(kept, slot), block):
            return
    _free(block)


@inner_kernel
def block_memory(like: Pointer, block: int) -> Pointer:
    """Return a pointer to a block's ``BLOCK_BYTES``, to elements of ``like``'s type, aligned to a cache line."""
    memory: Pointer = pointer_at(like, (block | (CACHE_LINE - 1)) + 1)
    return memory


@intrinsic
def _take(typing_context: Context, slot: types.CPointer) -> Definition:
    """Empty a slot and return the block that was there, or 0."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        return builder.atomic_rmw("xchg", arguments[0], INT64(0), "acq_rel")

    return types.int64(slot), codegen


@intrinsic
def _put(typing_context: Context, slot: types.CPointer, block: types.Integer) -> Definition:
    """Put a block into a slot if it is empty, and return whether it was."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        slot, block = arguments
        return builder.extract_value(builder.cmpxchg(slot, INT64(0), block, "acq_rel", "monotonic"), 1)

    return types.boolean(slot, types.int64), codegen


@intrinsic
def _allocate(typing_context: Context, size: types.Integer) -> Definition:
    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(INT64, [INT64]), _ALLOCATE)
        return builder.call(function, arguments)

    return types.int64(types.int64), codegen


@intrinsic
def _free(typing_context: Context, block: types.Integer) -> Definition:
    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [INT64]), _FREE)
        builder.call(function, arguments)
        return context.get_dummy_value()

    return types.void(types.int64), codegen

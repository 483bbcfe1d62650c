"""Typed pointers for compiled code: how inner kernels name a place in an array.

An inner kernel takes pointers and strides instead of arrays, so that one compiled version serves whole arrays, blocks
of rows and padded scratch memory alike. A pointer reads and writes one element as ``p[k]``.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

CACHE_LINE = 64  # bytes


@intrinsic
def pointer(typing_context, array):
    """Return a pointer to the first element of ``array``."""

    def codegen(context, builder, signature, arguments):
        return context.make_array(array)(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def shift(typing_context, start, elements):
    """Return the pointer ``elements`` elements behind ``start``."""

    def codegen(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return start(start, types.intp), codegen


@intrinsic
def stack_memory(typing_context, like, elements):
    """Return a pointer to ``elements`` (a constant) elements of ``like``'s type, aligned to a cache line.

    The memory lives until the calling kernel returns.
    """
    if not isinstance(elements, types.IntegerLiteral):
        return None

    def codegen(context, builder, signature, arguments):
        element = context.get_data_type(like.dtype)
        with builder.goto_entry_block():  # not cgutils.alloca_once: that would write zeros at every call
            memory = builder.alloca(ir.ArrayType(element, elements.literal_value))
        memory.align = CACHE_LINE
        return builder.bitcast(memory, element.as_pointer())

    return like(like, elements), codegen

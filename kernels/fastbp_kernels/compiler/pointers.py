"""What kernels take: arrays, and typed pointers, by which inner kernels name a place in an array.

An inner kernel takes pointers and strides instead of arrays, so that one compiled version serves whole arrays, blocks
of rows and padded scratch memory alike. One element is ``p[k]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic

Array = NDArray[Any]

CACHE_LINE = 64  # bytes


class Pointer(Protocol):
    """A pointer to elements of one type, as mypy sees it: it exists in compiled code only."""

    def __getitem__(self, k: int) -> float: ...
    def __setitem__(self, k: int, value: float) -> None: ...


@intrinsic
def pointer(typing_context: Context, array: types.Array) -> Definition:
    """Return a pointer to the first element of ``array``."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        return context.make_array(array)(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def shift(typing_context: Context, start: types.CPointer, elements: types.Integer) -> Definition:
    """Return the pointer ``elements`` elements behind ``start``."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        return builder.gep(arguments[0], [arguments[1]])

    return start(start, types.intp), codegen


@intrinsic
def pointer_at(typing_context: Context, like: types.CPointer, address: types.Integer) -> Definition:
    """Return the pointer to ``address`` in memory, to elements of ``like``'s type."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        return builder.inttoptr(arguments[1], arguments[0].type)

    return like(like, types.int64), codegen


def _pointer_to(element: types.Type) -> Callable[[int], Pointer]:
    @intrinsic
    def at(typing_context: Context, address: types.Integer) -> Definition:
        def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), codegen

    return at


int32_at, int64_at = _pointer_to(types.int32), _pointer_to(types.int64)  # the pointer to an address in memory


@intrinsic
def retyped(typing_context: Context, start: types.CPointer, like: types.CPointer) -> Definition:
    """Return the pointer ``start``, to elements of ``like``'s type."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        return builder.bitcast(arguments[0], arguments[1].type)

    return like(start, like), codegen


@intrinsic
def stack_memory(typing_context: Context, like: types.CPointer, elements: types.IntegerLiteral) -> Definition | None:
    """Return a pointer to ``elements`` (a constant) elements of ``like``'s type, aligned to a cache line.

    The memory lives until the calling kernel returns.
    """
    if not isinstance(elements, types.IntegerLiteral):  # numba asks first with the type that any number has
        return None

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        element = context.get_data_type(like.dtype)
        with builder.goto_entry_block():  # not cgutils.alloca_once: that would write zeros at every call
            memory = builder.alloca(ir.ArrayType(element, elements.literal_value))
        memory.align = CACHE_LINE
        return builder.bitcast(memory, element.as_pointer())

    return like(like, elements), codegen

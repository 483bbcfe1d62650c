"""numba's ``intrinsic`` with types, and what intrinsics share.

An intrinsic is defined by a function of its arguments' numba types; compiled code then calls it with the arguments::

    @intrinsic
    def shift(typing_context: Context, start: types.CPointer, elements: types.Integer) -> Definition: ...

    x = shift(pointer(input), row * i)

mypy checks the number and the names of the arguments of such a call; its result may be anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

from llvmlite import ir
from numba import extending, types

from fastbp_kernels.compiler.vectors import Vectors, vectors_of

P = ParamSpec("P")

Context = Any  # numba's contexts, for typing and for code: numba has no types for mypy
Values = list[ir.Value]
Codegen = Callable[[Context, ir.IRBuilder, Any, Values], ir.Value]
"""Emits the code of a call: ``codegen(context, builder, signature, arguments)`` returns the call's result."""
Definition = tuple[Any, Codegen]
"""The signature of a call and its code."""


def intrinsic(define: Callable[Concatenate[Context, P], Definition | None]) -> Callable[P, Any]:
    """Return what compiled code calls; ``define`` returns None for argument types that it does not take."""
    function: Callable[P, Any] = extending.intrinsic(define)
    return function


def full_vectors(context: Context, builder: ir.IRBuilder, pointer: types.CPointer) -> Vectors:
    """Return the operations on vectors of the CPU's full width, of the type that ``pointer`` points to."""
    return vectors_of(builder, context.get_value_type(pointer.dtype))


@intrinsic
def fused_multiply_add(typing_context: Context, a: types.Float, b: types.Float, c: types.Float) -> Definition:
    """Return ``a * b + c``, rounded once."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        return builder.fma(*arguments)

    return a(a, a, a), codegen

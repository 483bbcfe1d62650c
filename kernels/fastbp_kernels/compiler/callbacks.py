"""Functions of a user's, each compiled into a loop over arrays that kernels call by its address.

The loops are not vectorised: a number comes out in the same way wherever it stands, also where the user's function may
be computed in another way by vectors than alone (by numba's ``fastmath``, or a library for vectors). Several modules
with the same functions share them. Their code must be kept in memory while an address is in use.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy
from llvmlite import ir
from numba import cfunc, njit, types

from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic

_TYPES = {numpy.dtype(numpy.float32): types.float32, numpy.dtype(numpy.float64): types.float64}


@lru_cache
def value_loop(value: Any, dtype: numpy.dtype[Any]) -> Any:
    """Return ``loop(count, x, out)`` as a callback of C: ``value`` of each of ``count`` numbers.

    Parameters
    ----------
    value : function compiled by numba, of one number
        Its division follows NumPy: a callback cannot raise.
    dtype : dtype
        float32 or float64.
    """
    value = _dividing_as_numpy(value)

    def loop(count, x, out):  # type: ignore[no-untyped-def]
        for k in range(count):
            own = _by_itself(k)
            out[own] = value(x[own])

    return _callback(loop, dtype, arrays=2)


@lru_cache
def derivative_loop(derivative: Any, dtype: numpy.dtype[Any]) -> Any:
    """Return ``loop(count, grad, x, out)`` as a callback of C: ``grad`` times ``derivative`` of ``x``."""
    derivative = _dividing_as_numpy(derivative)

    def loop(count, grad, x, out):  # type: ignore[no-untyped-def]
        for k in range(count):
            own = _by_itself(k)
            out[own] = grad[own] * derivative(x[own])

    return _callback(loop, dtype, arrays=3)


def _callback(loop: Any, dtype: numpy.dtype[Any], arrays: int) -> Any:
    signature = types.void(types.intp, *[types.CPointer(_TYPES[dtype])] * arrays)
    return cfunc(signature, nopython=True, error_model="numpy")(loop)


@lru_cache
def returned_type(function: Any) -> Any:
    """Return numba's type of what ``function`` returns for a float64, or raise NumbaError where it takes none."""
    compiled = _dividing_as_numpy(function)
    compiled.compile((types.float64,))
    return compiled.nopython_signatures[0].return_type


def _dividing_as_numpy(function: Any) -> Any:
    """Return the function with numba's other rule of division, in the thread that calls it."""
    return njit(error_model="numpy", fastmath=function.targetoptions.get("fastmath", False))(function.py_func)


@intrinsic
def call_value(
    typing_context: Context, address: types.Integer, count: types.Integer, x: types.CPointer, out: types.CPointer
) -> Definition:
    """Call the ``value_loop`` at ``address``."""
    return types.void(types.intp, types.intp, x, out), _emit_call


@intrinsic
def call_derivative(
    typing_context: Context, address: types.Integer, count: types.Integer, grad: types.CPointer, x: types.CPointer,
    out: types.CPointer,
) -> Definition:  # fmt: skip
    """Call the ``derivative_loop`` at ``address``."""
    return types.void(types.intp, types.intp, grad, x, out), _emit_call


def _emit_call(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
    address, *rest = arguments
    function_type = ir.FunctionType(ir.VoidType(), [argument.type for argument in rest])
    builder.call(builder.inttoptr(address, function_type.as_pointer()), rest)
    return context.get_dummy_value()


@intrinsic
def _by_itself(typing_context: Context, k: types.Integer) -> Definition:
    """Return ``k``, of which LLVM no longer knows how it was computed: so it joins nothing to vectors."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        (value,) = arguments
        return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], side_effect=False)

    return k(k), codegen

"""Losses: the value summed in float64, and the gradient in the same pass.

Sums run over slabs of ``SLAB`` rows: within one, each vector lane adds up its numbers vector by vector, then the lanes
are added; the slabs' sums are added in order. Whoever splits rows at multiples of ``SLAB`` gets the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, full_vectors, intrinsic
from fastbp_kernels.compiler.pointers import Array, pointer, shift
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.compiler.vectors import INT64, Vectors

SLAB = 16


@public_kernel(prediction=read("(n, o)"), target=read("(n, o)"))
def mse_forward(prediction: Array, target: Array) -> float:
    """Return the sum of the squared differences.

    Parameters
    ----------
    prediction, target : array of shape (n, o), read
    """
    n, o = prediction.shape
    total = 0.0
    for row in range(0, n, SLAB):
        count = min(SLAB, n - row) * o
        total += mse_slab(count, shift(pointer(prediction), row * o), shift(pointer(target), row * o))
    return total


@public_kernel(prediction=read("(n, o)"), target=read("(n, o)"), grad=written("(n, o)"))
def mse_forward_backward(prediction: Array, target: Array, factor: float, grad: Array) -> float:
    """Return the sum of the squared differences and write ``factor`` times the differences to ``grad``.

    Parameters
    ----------
    prediction, target : array of shape (n, o), read
    factor : scalar of the arrays' dtype
    grad : array of shape (n, o), written
    """
    n, o = prediction.shape
    total = 0.0
    for row in range(0, n, SLAB):
        count = min(SLAB, n - row) * o
        total += mse_slab_with_gradient(
            count, shift(pointer(prediction), row * o), shift(pointer(target), row * o), factor,
            shift(pointer(grad), row * o),
        )  # fmt: skip
    return total


@intrinsic
def mse_slab(
    typing_context: Context, count: types.Integer, prediction: types.CPointer, target: types.CPointer
) -> Definition:
    """Return the sum of the squared differences of ``count`` numbers: all those of a slab's rows."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        return _emit_slab(context, builder, prediction, arguments, None)

    return types.float64(types.intp, prediction, target), codegen


@intrinsic
def mse_slab_with_gradient(
    typing_context: Context, count: types.Integer, prediction: types.CPointer, target: types.CPointer,
    factor: types.Float, grad: types.CPointer,
) -> Definition:  # fmt: skip
    """Do ``mse_slab`` and write ``factor * (prediction - target)`` to ``grad``, which may be ``target``."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        return _emit_slab(context, builder, prediction, arguments[:3], arguments[3:])

    return types.float64(types.intp, prediction, target, prediction.dtype, grad), codegen


def _emit_slab(
    context: Context, builder: ir.IRBuilder, prediction_type: types.CPointer, arguments: Values, gradient: Values | None
) -> ir.Value:
    """Emit the sum over a slab, and with ``gradient`` (factor, grad) the stores; return the sum."""
    count, prediction, target = arguments
    v = full_vectors(context, builder, prediction_type)
    sums = Vectors(builder, ir.DoubleType(), v.lanes)
    total = cgutils.alloca_once_value(builder, sums.constant(0.0))

    with cgutils.for_range_slice(builder, INT64(0), count, INT64(v.lanes), inc=True) as (first, _):

        def emit(load: Callable[..., ir.Value], store: Callable[..., None]) -> None:
            difference = builder.fsub(load(builder.gep(prediction, [first])), load(builder.gep(target, [first])))
            wide = difference if v.bytes == 8 else builder.fpext(difference, sums.type)
            builder.store(sums.fma(wide, wide, builder.load(total)), total)
            if gradient is not None:
                factor, grad = gradient
                store(builder.fmul(v.splat(factor), difference), builder.gep(grad, [first]))

        left = builder.sub(count, first)
        with builder.if_else(builder.icmp_signed(">=", left, INT64(v.lanes))) as (whole, ragged):
            with whole:
                emit(v.load, v.store)
            with ragged:
                mask = v.first_lanes(left)
                emit(lambda p: v.masked_load(p, mask), lambda value, p: v.masked_store(value, p, mask))
    return sums.sum(builder.load(total))

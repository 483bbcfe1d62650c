"""Losses: the value summed in float64, and the gradient in the same pass.

Sums run over slabs of ``SLAB`` rows: within one, each vector lane adds up its columns row by row, then the lanes are
added; the slabs' sums are added in order. Whoever splits rows at multiples of ``SLAB`` gets the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastbp_kernels.cache import kernel
from fastbp_kernels.intrinsics import Context, Definition, Values, full_vectors, intrinsic
from fastbp_kernels.pointers import Array, pointer, shift
from fastbp_kernels.vectors import INT64, Vectors

SLAB = 16


@kernel
def mse_forward(prediction: Array, target: Array) -> float:
    """Return the sum of the squared differences.

    Parameters
    ----------
    prediction, target : array of shape (n, o), read
    """
    n, o = prediction.shape
    total = 0.0
    for row in range(0, n, SLAB):
        total += mse_slab(
            min(SLAB, n - row), o, shift(pointer(prediction), row * o), o, shift(pointer(target), row * o), o
        )
    return total


@kernel
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
        total += mse_slab_with_gradient(
            min(SLAB, n - row), o, shift(pointer(prediction), row * o), o, shift(pointer(target), row * o), o,
            factor, shift(pointer(grad), row * o), o,
        )  # fmt: skip
    return total


@intrinsic
def mse_slab(
    typing_context: Context, rows: types.Integer, columns: types.Integer, prediction: types.CPointer,
    prediction_row: types.Integer, target: types.CPointer, target_row: types.Integer,
) -> Definition:  # fmt: skip
    """Return the sum of the squared differences of ``rows`` rows.

    Row r starts at ``prediction[r * prediction_row]`` and at ``target[r * target_row]``.
    """

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        return _emit_slab(context, builder, prediction, arguments, None)

    integer = types.intp
    return types.float64(integer, integer, prediction, integer, target, integer), codegen


@intrinsic
def mse_slab_with_gradient(
    typing_context: Context, rows: types.Integer, columns: types.Integer, prediction: types.CPointer,
    prediction_row: types.Integer, target: types.CPointer, target_row: types.Integer, factor: types.Float,
    grad: types.CPointer, grad_row: types.Integer,
) -> Definition:  # fmt: skip
    """Do ``mse_slab`` and write ``factor * (prediction - target)`` to ``grad``, which may be ``target``."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        return _emit_slab(context, builder, prediction, arguments[:6], arguments[6:])

    integer = types.intp
    scalar = prediction.dtype
    return types.float64(integer, integer, prediction, integer, target, integer, scalar, grad, integer), codegen


def _emit_slab(
    context: Context, builder: ir.IRBuilder, prediction_type: types.CPointer, arguments: Values, gradient: Values | None
) -> ir.Value:
    """Emit the sum over a slab, and with ``gradient`` (factor, grad, grad_row) the stores; return the sum."""
    rows, columns, prediction, prediction_row, target, target_row = arguments
    v = full_vectors(context, builder, prediction_type)
    sums = Vectors(builder, ir.DoubleType(), v.lanes)
    total = cgutils.alloca_once_value(builder, sums.constant(0.0))

    with (
        cgutils.for_range(builder, rows) as row,
        cgutils.for_range_slice(builder, INT64(0), columns, INT64(v.lanes), inc=True) as (column, _),
    ):

        def place(start: ir.Value, stride: ir.Value) -> ir.Value:
            return builder.gep(start, [builder.add(builder.mul(row.index, stride), column)])

        def emit(load: Callable[..., ir.Value], store: Callable[..., None]) -> None:
            difference = builder.fsub(load(place(prediction, prediction_row)), load(place(target, target_row)))
            wide = difference if v.bytes == 8 else builder.fpext(difference, sums.type)
            builder.store(sums.fma(wide, wide, builder.load(total)), total)
            if gradient is not None:
                factor, grad, grad_row = gradient
                store(builder.fmul(v.splat(factor), difference), place(grad, grad_row))

        left = builder.sub(columns, column)
        with builder.if_else(builder.icmp_signed(">=", left, INT64(v.lanes))) as (whole, ragged):
            with whole:
                emit(v.load, v.store)
            with ragged:
                mask = v.first_lanes(left)
                emit(lambda p: v.masked_load(p, mask), lambda value, p: v.masked_store(value, p, mask))
    return sums.sum(builder.load(total))

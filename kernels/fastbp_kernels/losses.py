"""Losses: the value summed in float64, and the gradient in the same pass.

Sums run over slabs of ``SLAB`` rows: within one, the columns of each vector lane are added row by row; the slabs' sums are
added in order. Whoever splits rows at multiples of ``SLAB`` gets the same bits.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastbp_kernels.cache import kernel
from fastbp_kernels.pointers import pointer, shift
from fastbp_kernels.vectors import INT64, LANE_BYTES, Vectors

SLAB = 16


@kernel
def mse_forward(prediction, target):
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
def mse_forward_backward(prediction, target, factor, grad):
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
def mse_slab(typing_context, rows, columns, prediction, prediction_row, target, target_row):
    """Return the sum of the squared differences of ``rows`` rows; row r starts at ``prediction[r * prediction_row]``."""

    def codegen(context, builder, signature, arguments):
        return _emit_slab(context, builder, prediction, arguments, None)

    integer = types.intp
    return types.float64(integer, integer, prediction, integer, target, integer), codegen


@intrinsic
def mse_slab_with_gradient(
    typing_context, rows, columns, prediction, prediction_row, target, target_row, factor, grad, grad_row
):
    """The same, and write ``factor * (prediction - target)`` to ``grad``."""

    def codegen(context, builder, signature, arguments):
        return _emit_slab(context, builder, prediction, arguments[:6], arguments[6:])

    integer = types.intp
    scalar = prediction.dtype
    return types.float64(integer, integer, prediction, integer, target, integer, scalar, grad, integer), codegen


def _emit_slab(context, builder, pointer_type, arguments, gradient):
    rows, columns, prediction, prediction_row, target, target_row = arguments
    element = context.get_value_type(pointer_type.dtype)
    v = Vectors(builder, element, LANE_BYTES // (pointer_type.dtype.bitwidth // 8))
    sums = Vectors(builder, ir.DoubleType(), v.lanes)
    total = cgutils.alloca_once_value(builder, sums.constant(0.0))

    with cgutils.for_range(builder, rows) as row, cgutils.for_range_slice(
        builder, INT64(0), columns, INT64(v.lanes), inc=True
    ) as (column, _):

        def place(start, stride):
            return builder.gep(start, [builder.add(builder.mul(row.index, stride), column)])

        def emit(load, store) -> None:
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

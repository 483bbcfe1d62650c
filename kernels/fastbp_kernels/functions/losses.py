"""The registry of losses: the value summed in float64, and the gradient in the same pass.

A loss's code is its place in ``LOSSES``.

Sums run over slabs of ``SLAB`` rows: within one, each vector lane adds up its numbers vector by vector, then the lanes
are added; the slabs' sums are added in order. Whoever splits rows at multiples of ``SLAB`` gets the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, nan
from typing import Any, Literal, NamedTuple

from llvmlite import ir
from numba import float64, types
from numba.core import cgutils

from fastbp_kernels.compiler.cache import inner_kernel
from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, full_vectors, intrinsic
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, shift, stack_memory
from fastbp_kernels.compiler.public import indices, public_kernel, read, written
from fastbp_kernels.compiler.vectors import INT64, Vectors
from fastbp_kernels.functions.activations import exp_loop

SLAB = 16
_PIECE = 64  # numbers whose exponentials are computed at a time where no gradient is wanted


class Loss(NamedTuple):
    """A row of the registry.

    Attributes
    ----------
    name : str
        That of its class in ``fastbp.nn``.
    target : "values" or "classes"
        Whether a target is an array like the prediction or a class index a row.
    mean_over : "elements" or "rows"
        What ``reduction="mean"`` divides by the number of.
    slope : float
        What the gradient is a multiple of: ``slope * scale``, with the scale of the loss itself.
    """

    name: str
    target: Literal["values", "classes"]
    mean_over: Literal["elements", "rows"]
    slope: float


LOSSES = (Loss("MSELoss", "values", "elements", 2.0), Loss("CrossEntropyLoss", "classes", "rows", 1.0))
LOSS_CODES = {row.name: code for code, row in enumerate(LOSSES)}
MSE, CROSS_ENTROPY = LOSS_CODES["MSELoss"], LOSS_CODES["CrossEntropyLoss"]
# By code, for compiled code.
TAKES_CLASSES = tuple(row.target == "classes" for row in LOSSES)
MEAN_OVER_ELEMENTS = tuple(row.mean_over == "elements" for row in LOSSES)
SLOPES = tuple(row.slope for row in LOSSES)


@inner_kernel
def loss_slab_with_gradient(
    loss: int, rows: int, outputs: int, prediction: Pointer, target: Pointer, classes: Pointer, factor: float,
    grad: Pointer,
) -> float:  # fmt: skip
    """Return the sum of the loss over up to ``SLAB`` rows, and write its gradient times ``factor`` to ``grad``.

    ``target`` or ``classes`` is read, as the loss takes; ``grad`` may be ``target``.
    """
    if loss == MSE:
        total: float = mse_slab_with_gradient(rows * outputs, prediction, target, factor, grad)
        return total
    if loss == CROSS_ENTROPY:
        return cross_entropy_slab_with_gradient(rows, outputs, prediction, classes, factor, grad)
    return nan  # a row without a branch here is not taken for another


@inner_kernel
def loss_slab(loss: int, rows: int, outputs: int, prediction: Pointer, target: Pointer, classes: Pointer) -> float:
    """Return the sum of the loss over up to ``SLAB`` rows."""
    if loss == MSE:
        total: float = mse_slab(rows * outputs, prediction, target)
        return total
    if loss == CROSS_ENTROPY:
        return cross_entropy_slab(rows, outputs, prediction, classes)
    return nan


@inner_kernel
def cross_entropy_slab_with_gradient(
    rows: int, outputs: int, logits: Pointer, classes: Pointer, factor: float, grad: Pointer
) -> float:
    """Return the sum of ``log(sum of exp(logits)) - logits[class]`` and write softmax minus one-hot to ``grad``."""
    total = 0.0
    for row in range(rows):
        x, g = shift(logits, row * outputs), shift(grad, row * outputs)
        own, most = classes[row], _largest(x, outputs)
        picked = float64(x[own] - most)
        for k in range(outputs):
            g[k] = x[k] - most
        exp_loop(outputs, g, g)
        exponentials = 0.0
        for k in range(outputs):
            exponentials += g[k]
        total += log(exponentials) - picked
        scale = factor / exponentials
        for k in range(outputs):
            g[k] = g[k] * scale
        g[own] -= factor
    return total


@inner_kernel
def cross_entropy_slab(rows: int, outputs: int, logits: Pointer, classes: Pointer) -> float:
    """Return the same sum."""
    piece = stack_memory(logits, _PIECE)
    total = 0.0
    for row in range(rows):
        x = shift(logits, row * outputs)
        most = _largest(x, outputs)
        exponentials = 0.0
        for first in range(0, outputs, _PIECE):
            count = min(_PIECE, outputs - first)
            for k in range(count):
                piece[k] = x[first + k] - most
            exp_loop(count, piece, piece)
            for k in range(count):
                exponentials += piece[k]
        total += log(exponentials) - float64(x[classes[row]] - most)
    return total


@inner_kernel
def _largest(values: Pointer, count: int) -> float:
    """Return the largest of 1 or more values, NaN if there is one."""
    most = values[0]
    for k in range(1, count):
        if values[k] > most or values[k] != values[k]:
            most = values[k]
        if most != most:
            break
    return most


@public_kernel(logits=read("(n, o)"), classes=indices("(n,)"), grad=written("(n, o)"))
def cross_entropy_forward_backward(logits: Array, classes: Array, factor: float, grad: Array) -> float:
    """Return the sum over rows of the cross entropy and write ``factor`` times its gradient to ``grad``.

    Parameters
    ----------
    logits : array of shape (n, o), read
    classes : array of int64, shape (n,), read
        Each from 0 up to o - 1.
    factor : scalar of the arrays' dtype
    grad : array of shape (n, o), written
    """
    n, o = logits.shape
    total = 0.0
    for row in range(0, n, SLAB):
        total += cross_entropy_slab_with_gradient(
            min(SLAB, n - row), o, shift(pointer(logits), row * o), shift(pointer(classes), row), factor,
            shift(pointer(grad), row * o),
        )  # fmt: skip
    return total


@public_kernel(logits=read("(n, o)"), classes=indices("(n,)"))
def cross_entropy_forward(logits: Array, classes: Array) -> float:
    """Return the sum over rows of the cross entropy.

    Parameters
    ----------
    logits : array of shape (n, o), read
    classes : array of int64, shape (n,), read
        Each from 0 up to o - 1.
    """
    n, o = logits.shape
    total = 0.0
    for row in range(0, n, SLAB):
        count = min(SLAB, n - row)
        total += cross_entropy_slab(count, o, shift(pointer(logits), row * o), shift(pointer(classes), row))
    return total


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

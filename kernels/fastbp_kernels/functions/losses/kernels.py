"""Losses over slabs of rows: the registry's loops, called for whole arrays and by the engine.

The value is summed in float64, and the gradient written in the same call.

Sums run over slabs of ``SLAB`` rows, whose sums are added in order. Whoever splits rows at multiples of ``SLAB`` gets
the same bits. Where rows have weights, each row of a slab is summed by itself.
"""

from __future__ import annotations

from math import inf, nan
from typing import NamedTuple

from numba import float64

from fastbp_kernels.compiler.decorators import inner_kernel, kernel
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, shift
from fastbp_kernels.compiler.public import indices, public_kernel, read, written
from fastbp_kernels.functions.losses.element_losses import element_losses, element_losses_with_gradient
from fastbp_kernels.functions.losses.registry import LOSS_CODES, LOSSES, SCALARS, SLAB
from fastbp_kernels.functions.losses.row_losses import row_losses

__all__ = ["LOSSES", "LOSS_CODES", "SCALARS", "SLAB"]

_MSE, _CROSS_ENTROPY = LOSS_CODES["MSELoss"], LOSS_CODES["CrossEntropyLoss"]


class LossCall(NamedTuple):
    """A loss as the engine takes it.

    Attributes
    ----------
    code : int
        Its place in the registry, or the address of the user's loop
        ``loop(count, prediction, target, factor, wants_gradient, grad)``, which returns the sum of ``count`` losses
        and, if ``wants_gradient`` is not 0, writes ``factor`` times their derivatives.
    takes_classes, is_over_rows : bool
    slope : float
        What the gradient is a multiple of, beside the scale.
    is_mean : bool
        Whether the loss is a mean over a mini-batch instead of a sum.
    elements : int
        What a row counts in a mean: the number of its elements, or 1.
    sums_weights : bool
        Whether a mean divides by the sum of the weights of rows and classes, instead of the number of rows.
    settings : vector of the arrays' dtype, read
        See ``registry``.
    """

    code: int
    takes_classes: bool
    is_over_rows: bool
    slope: float
    is_mean: bool
    elements: int
    sums_weights: bool
    settings: Array


@inner_kernel
def loss_slab_with_gradient(
    loss: LossCall, is_weighted: bool, rows: int, outputs: int, prediction: Pointer, target: Pointer, classes: Pointer,
    weights: Pointer, factor: float, grad: Pointer,
) -> float:  # fmt: skip
    """Return the sum of the loss over up to ``SLAB`` rows, and write its gradient times ``factor`` to ``grad``.

    ``target`` or ``classes`` is read, as the loss takes, and ``weights`` if it ``is_weighted``; ``grad`` may be
    ``target``.
    """
    settings, vector_row = pointer(loss.settings), SLAB * outputs
    vectors = shift(settings, SCALARS)
    if loss.is_over_rows:
        of_rows: float = row_losses(
            loss.code, rows, outputs, prediction, target, classes, weights, is_weighted, settings[0], settings[1],
            vectors, factor, grad, True,
        )  # fmt: skip
        return of_rows
    if not is_weighted:
        of_elements: float = element_losses_with_gradient(
            loss.code, rows * outputs, prediction, target, settings, vectors, vector_row, factor, grad
        )
        return of_elements
    total = 0.0
    for row in range(rows):
        x, y, g = shift(prediction, row * outputs), shift(target, row * outputs), shift(grad, row * outputs)
        own_factor = factor * weights[row]
        total += weights[row] * element_losses_with_gradient(
            loss.code, outputs, x, y, settings, vectors, vector_row, own_factor, g
        )
    return total


@inner_kernel
def loss_slab(
    loss: LossCall, is_weighted: bool, rows: int, outputs: int, prediction: Pointer, target: Pointer, classes: Pointer,
    weights: Pointer,
) -> float:  # fmt: skip
    """Return the sum of the loss over up to ``SLAB`` rows."""
    settings, vector_row = pointer(loss.settings), SLAB * outputs
    vectors = shift(settings, SCALARS)
    if loss.is_over_rows:
        of_rows: float = row_losses(
            loss.code, rows, outputs, prediction, target, classes, weights, is_weighted, settings[0], settings[1],
            vectors, settings[0], prediction, False,
        )  # fmt: skip
        return of_rows
    if not is_weighted:
        of_elements: float = element_losses(
            loss.code, rows * outputs, prediction, target, settings, vectors, vector_row
        )
        return of_elements
    total = 0.0
    for row in range(rows):
        x, y = shift(prediction, row * outputs), shift(target, row * outputs)
        total += weights[row] * element_losses(loss.code, outputs, x, y, settings, vectors, vector_row)
    return total


@inner_kernel
def row_weight(
    takes_classes: bool, settings: Array, is_weighted: bool, classes: Pointer, weights: Pointer, row: int
) -> float:
    """Return what a row counts in a mean that ``sums_weights``, over ``elements``."""
    weight = float64(weights[row]) if is_weighted else 1.0
    if takes_classes:
        own = int(classes[row])
        weight *= float64(settings[SCALARS + own]) if own >= 0 else 0.0
    return weight


@inner_kernel
def scale_of_weights(loss: LossCall, is_weighted: bool, total: float) -> float:
    """Return the factor of the sum in a mean of rows whose weights sum to ``total``.

    Rows without weight contribute nothing; a mean of none, where no rows have weights, is NaN as in PyTorch.
    """
    if total == 0.0:
        return 0.0 if is_weighted else nan
    return 1.0 / (total * loss.elements)


@kernel
def sum_of_weights(takes_classes: bool, settings: Array, classes: Array, weights: Array, rows: int) -> float:
    """Return what all rows count in a mean that ``sums_weights``; the arrays are as in ``loss_forward``."""
    total = 0.0
    for row in range(rows):
        total += row_weight(takes_classes, settings, weights.size > 0, pointer(classes), pointer(weights), row)
    return total


@kernel
def loss_forward(
    code: int, takes_classes: bool, is_over_rows: bool, settings: Array, prediction: Array, target: Array,
    classes: Array, weights: Array,
) -> float:  # fmt: skip
    """Return the sum of the loss over all rows.

    Parameters
    ----------
    code, takes_classes, is_over_rows, settings
        See ``LossCall``, which costs microseconds where it comes from Python.
    prediction : array of shape (n, o), read
    target : array of shape (n, o), read
        Empty where the loss takes classes.
    classes : array of int64, shape (n,), read
        Each from 0 up to o - 1, or -1 for a row that is ignored; empty where the loss takes values.
    weights : array of shape (n,), read
        Those of the rows, or empty.
    """
    n, o = prediction.shape
    loss = LossCall(code, takes_classes, is_over_rows, 1.0, False, o, False, settings)
    total = 0.0
    for row in range(0, n, SLAB):
        total += loss_slab(
            loss, weights.size > 0, min(SLAB, n - row), o, shift(pointer(prediction), row * o),
            shift(pointer(target), row * o), shift(pointer(classes), row), shift(pointer(weights), row),
        )  # fmt: skip
    return total


@kernel
def loss_forward_backward(
    code: int, takes_classes: bool, is_over_rows: bool, settings: Array, prediction: Array, target: Array,
    classes: Array, weights: Array, factor: float, grad: Array,
) -> float:  # fmt: skip
    """Do ``loss_forward`` and write the gradient times ``factor``, of the arrays' dtype, to ``grad`` (n, o)."""
    n, o = prediction.shape
    loss = LossCall(code, takes_classes, is_over_rows, 1.0, False, o, False, settings)
    total = 0.0
    for row in range(0, n, SLAB):
        total += loss_slab_with_gradient(
            loss, weights.size > 0, min(SLAB, n - row), o, shift(pointer(prediction), row * o),
            shift(pointer(target), row * o), shift(pointer(classes), row), shift(pointer(weights), row), factor,
            shift(pointer(grad), row * o),
        )  # fmt: skip
    return total


@kernel
def loss_values(loss: LossCall, prediction: Array, target: Array, classes: Array, out: Array) -> None:
    """Write the loss of each element to ``out`` (n, o), or of each row to ``out`` (n, 1).

    The others are as in ``loss_forward``.
    """
    n, o = prediction.shape
    width = out.shape[1]
    step = o // width if width else 0
    x, y, settings = pointer(prediction), pointer(target), pointer(loss.settings)
    for row in range(n):
        for k in range(width):
            place = row * o + k
            if loss.is_over_rows:
                own, vectors = shift(pointer(classes), row if loss.takes_classes else 0), shift(settings, SCALARS)
                value = row_losses(
                    loss.code, 1, step, shift(x, place), shift(y, place), own, x, False, settings[0], settings[1],
                    vectors, settings[0], x, False,
                )  # fmt: skip
            else:
                vectors = shift(settings, SCALARS + k)
                value = element_losses(loss.code, 1, shift(x, place), shift(y, place), settings, vectors, SLAB * o)
            out[row, k] = value


@public_kernel(logits=read("(n, o)"), classes=indices("(n,)"), weight=read("(o,)"), grad=written("(n, o)"))
def cross_entropy_forward_backward(
    logits: Array, classes: Array, weight: Array, factor: float, grad: Array
) -> float:  # fmt: skip
    """Do ``cross_entropy_forward`` and write ``factor`` times the gradient to ``grad``.

    Parameters
    ----------
    logits, classes, weight
        As there.
    factor : scalar of the arrays' dtype
    grad : array of shape (n, o), written
    """
    return _cross_entropy(logits, classes, weight, factor, grad, True)


@public_kernel(logits=read("(n, o)"), classes=indices("(n,)"), weight=read("(o,)"))
def cross_entropy_forward(logits: Array, classes: Array, weight: Array) -> float:
    """Return the sum over rows of the weight of a row's class times its cross entropy.

    Parameters
    ----------
    logits : array of shape (n, o), read
    classes : array of int64, shape (n,), read
        Each from 0 up to o - 1, or -1 for a row that is ignored.
    weight : array of shape (o,), read
        Of each class.
    """
    return _cross_entropy(logits, classes, weight, 1.0, logits, False)


@kernel
def _cross_entropy(
    logits: Array, classes: Array, weight: Array, factor: float, grad: Array, wants_gradient: bool
) -> float:  # fmt: skip
    n, o = logits.shape
    total = 0.0
    for row in range(0, n, SLAB):
        x, g = shift(pointer(logits), row * o), shift(pointer(grad), row * o)
        total += row_losses(
            _CROSS_ENTROPY, min(SLAB, n - row), o, x, x, shift(pointer(classes), row), x, False, 0.0, inf,
            pointer(weight), factor, g, wants_gradient,
        )  # fmt: skip
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
        x, y = shift(pointer(prediction), row * o), shift(pointer(target), row * o)
        total += element_losses(_MSE, min(SLAB, n - row) * o, x, y, x, x, 0)
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
        x, y = shift(pointer(prediction), row * o), shift(pointer(target), row * o)
        g = shift(pointer(grad), row * o)
        total += element_losses_with_gradient(_MSE, min(SLAB, n - row) * o, x, y, x, x, 0, factor, g)
    return total

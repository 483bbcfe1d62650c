"""Batch normalisation: each feature less its mean over the samples and over its standard deviation.

Ioffe and Szegedy, "Batch Normalization", 2015, in the form of ``torch.nn.BatchNorm1d``::

    normalized = (x - mean) * rstd        rstd = 1 / sqrt(variance + eps)
    y          = normalized * weight + bias

Mean and (biased) variance are those of the mini-batch, or running ones, which then follow no mini-batch.
"""

from __future__ import annotations

from math import sqrt

from numba import float64

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.elementwise import add_loop, elementwise2, zero_loop
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, pointer_at, shift
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.layers.call import LayerCall, grad_rows, saved_rows
from fastbp_kernels.layers.table import BIAS, INTEGERS, OUT, SAVED_ROW, WEIGHT, X_ROW, Y_ROW
from fastbp_kernels.linalg.column_sums import add_column_product_sums, add_column_sums

_subtract = elementwise2(lambda v, x, y: v.builder.fsub(x, y))
_multiply = elementwise2(lambda v, x, y: v.builder.fmul(x, y))


@inner_kernel
def batch_norm_statistics(
    n: int, features: int, normalized: Pointer, row_size: int, mean: Pointer, rstd: Pointer
) -> None:
    """Centre the rows of ``normalized``, a mini-batch's of x, and write their means and variances.

    ``mean`` gets the means. ``rstd`` gets the variances, of which ``batch_norm_rows`` makes 1 / sqrt(variance + eps).
    """
    zero_loop(features, mean)
    add_column_sums(n, features, normalized, row_size, mean)
    for k in range(features):
        mean[k] = mean[k] / n
    for row in range(n):
        own = shift(normalized, row * row_size)
        _subtract(features, own, mean, own)
    zero_loop(features, rstd)
    add_column_product_sums(n, features, normalized, normalized, row_size, rstd)
    for k in range(features):
        rstd[k] = rstd[k] / n


@inner_kernel
def follow_statistics(
    n: int, features: int, weight: float, mean: Pointer, variance: Pointer, running_mean: Pointer,
    running_variance: Pointer,
) -> None:  # fmt: skip
    """Move the running statistics by ``weight`` towards those of a mini-batch of ``n`` rows, 2 or more."""
    for k in range(features):
        unbiased = variance[k] * (n / (n - 1))
        running_mean[k] = (1.0 - weight) * running_mean[k] + weight * mean[k]
        running_variance[k] = (1.0 - weight) * running_variance[k] + weight * unbiased


@inner_kernel
def batch_norm_rows(
    n: int, features: int, normalized: Pointer, rstd: Pointer, eps: float, weight: Pointer, bias: Pointer,
    parameters: int, y: Pointer, y_row: int,
) -> None:  # fmt: skip
    """Divide the centred rows of ``normalized`` and write ``y``, whose rows lie like them.

    ``rstd`` has the variances and is left with 1 / sqrt(variance + eps), by which the rows are multiplied.
    ``parameters`` are how many there are: 0, 1 (``weight``) or 2 (``bias`` too).
    """
    for k in range(features):
        rstd[k] = 1.0 / sqrt(rstd[k] + eps)
    for row in range(n):
        own, out = shift(normalized, row * y_row), shift(y, row * y_row)
        _multiply(features, own, rstd, own)
        if parameters:
            _multiply(features, own, weight, out)
            if parameters > 1:
                add_loop(features, out, bias, out)
        else:
            for k in range(features):
                out[k] = own[k]


@inner_kernel
def batch_norm_backward_rows(
    n: int, features: int, grad: Pointer, grad_row: int, parameters: int, weight: Pointer, normalized: Pointer,
    rstd: Pointer, takes_batch: bool, out: Pointer, out_row: int,
) -> None:  # fmt: skip
    """Write to ``out`` the gradient of x for that of y, ``grad``, whose rows lie like ``normalized``'s."""
    for k in range(features):
        total, product = 0.0, 0.0
        if takes_batch:
            for row in range(n):
                total += grad[row * grad_row + k]
                product += grad[row * grad_row + k] * normalized[row * grad_row + k]
            total, product = total / n, product / n
        scale = rstd[k] * (weight[k] if parameters else 1.0)
        for row in range(n):
            place = row * grad_row + k
            out[row * out_row + k] = scale * (grad[place] - total - normalized[place] * product)


@public_kernel(
    input=read("(n, i)"), weight=read("(i,)", or_empty=True), bias=read("(i,)", or_empty=True),
    running_mean=written("(i,)", or_empty=True), running_variance=written("(i,)", or_empty=True),
    normalized=written("(n, i)"), rstd=written("(i,)"), output=written("(n, i)"),
)  # fmt: skip
def batch_norm_forward(
    input: Array, weight: Array, bias: Array, eps: float, momentum: float, running_mean: Array,
    running_variance: Array, normalized: Array, rstd: Array, output: Array,
) -> None:  # fmt: skip
    """Write the normalised features of ``input``, times ``weight``, plus ``bias``, to ``output``.

    Parameters
    ----------
    input : array of shape (n, i), read
        Of 2 rows or more where running statistics follow it.
    weight, bias : array of shape (i,), read, or (0,) for none; no bias without a weight
    eps : scalar of the arrays' dtype
    momentum : float64
        The weight of these rows in the running statistics; below 0 the rows are normalised by these.
    running_mean, running_variance : array of shape (i,), read and written, or both (0,) for none
    normalized : array of shape (n, i), written
        The rows before ``weight`` and ``bias``; ``batch_norm_backward`` needs them.
    rstd : array of shape (i,), written
        1 / sqrt(variance + eps), for the same.
    output : array of shape (n, i), written
    """
    n, i = input.shape
    parameters = (1 if weight.size else 0) + (1 if bias.size else 0)
    batch_norm(
        n, i, pointer(input), i, pointer(weight), pointer(bias), parameters, eps, momentum, pointer(running_mean),
        pointer(running_variance), running_mean.size, pointer(normalized), pointer(rstd), pointer(output), i,
    )  # fmt: skip


@inner_kernel
def batch_norm(
    n: int, features: int, x: Pointer, x_row: int, weight: Pointer, bias: Pointer, parameters: int, eps: float,
    momentum: float, running_mean: Pointer, running_variance: Pointer, runs: int, normalized: Pointer, rstd: Pointer,
    y: Pointer, y_row: int,
) -> None:  # fmt: skip
    """Do what ``batch_norm_forward`` does, with rows of ``normalized`` that lie like those of ``y``."""
    for row in range(n):
        source, own = shift(x, row * x_row), shift(normalized, row * y_row)
        if momentum < 0:
            _subtract(features, source, running_mean, own)
        else:
            for k in range(features):
                own[k] = source[k]
    if momentum < 0:
        for k in range(features):
            rstd[k] = running_variance[k]
    else:
        mean = y  # not written yet: the means fit its first row
        batch_norm_statistics(n, features, normalized, y_row, mean, rstd)
        if runs:
            follow_statistics(n, features, momentum, mean, rstd, running_mean, running_variance)
    batch_norm_rows(n, features, normalized, rstd, eps, weight, bias, parameters, y, y_row)


@public_kernel(
    grad_output=read("(n, i)"), weight=read("(i,)", or_empty=True), normalized=read("(n, i)"), rstd=read("(i,)"),
    grad_input=written("(n, i)"),
)  # fmt: skip
def batch_norm_backward(
    grad_output: Array, weight: Array, normalized: Array, rstd: Array, takes_batch: int, grad_input: Array
) -> None:
    """Write the gradient with respect to the input of ``batch_norm_forward`` to ``grad_input``.

    ``takes_batch`` is 1 where the rows were normalised by their own statistics, 0 where by the running ones.
    """
    n, i = grad_output.shape
    batch_norm_backward_rows(
        n, i, pointer(grad_output), i, weight.size, pointer(weight), pointer(normalized), pointer(rstd),
        takes_batch != 0, pointer(grad_input), i,
    )  # fmt: skip


# Its integers: mini-batches that it has had before the call; the addresses of the running mean and variance; whether a
# training takes the statistics of the mini-batch.
_FORWARDS, _MEAN_AT, _VARIANCE_AT, _TAKES_BATCH = range(INTEGERS, INTEGERS + 4)


def layer_forward(layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, y: Pointer) -> None:
    """Normalise the call's rows, which are a whole mini-batch in training."""
    weight, bias, momentum = layers[layer, WEIGHT], layers[layer, BIAS], float64(call.scalars[1])
    if call.steps < 0 or not layers[layer, _TAKES_BATCH]:
        momentum = -1.0
    elif momentum < 0:
        momentum = 1.0 / (layers[layer, _FORWARDS] + call.steps + 1)
    batch_norm(
        call.rows, layers[layer, OUT], x, x_row, shift(call.parameter, max(weight, 0)),
        shift(call.parameter, max(bias, 0)), (1 if weight >= 0 else 0) + (1 if bias >= 0 else 0), call.scalars[0],
        momentum, pointer_at(x, layers[layer, _MEAN_AT]), pointer_at(x, layers[layer, _VARIANCE_AT]),
        layers[layer, _MEAN_AT], saved_rows(layers, layer, call), shift(call.scratch, layers[layer, SAVED_ROW]), y,
        layers[layer, Y_ROW],
    )  # fmt: skip


def layer_backward(layers: Array, layer: int, call: LayerCall, grad_x: Pointer) -> None:
    """Write the gradient of the inputs of the call's rows."""
    weight = layers[layer, WEIGHT]
    batch_norm_backward_rows(
        call.rows, layers[layer, OUT], grad_rows(layers, layer, call), layers[layer, Y_ROW], 1 if weight >= 0 else 0,
        shift(call.parameter, max(weight, 0)), saved_rows(layers, layer, call),
        shift(call.scratch, layers[layer, SAVED_ROW]), layers[layer, _TAKES_BATCH] != 0, grad_x, layers[layer, X_ROW],
    )  # fmt: skip

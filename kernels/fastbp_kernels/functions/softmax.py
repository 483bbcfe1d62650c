"""Softmax and its logarithm over the features of each row."""

from __future__ import annotations

from math import log

from fastbp_kernels.compiler.cache import inner_kernel
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, shift
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.functions.activations import exp_loop


@inner_kernel
def largest(values: Pointer, count: int) -> float:
    """Return the largest of 1 or more values, NaN if there is one."""
    most = values[0]
    for k in range(1, count):
        if values[k] > most or values[k] != values[k]:
            most = values[k]
        if most != most:
            break
    return most


@inner_kernel
def exponentials(count: int, x: Pointer, most: float, out: Pointer) -> None:
    """Write ``exp(x - most)`` to ``out``."""
    for k in range(count):
        out[k] = x[k] - most
    exp_loop(count, out, out)


@inner_kernel
def sum_of(values: Pointer, count: int) -> float:
    """Return the sum of ``values`` in float64, one after the other."""
    total = 0.0
    for k in range(count):
        total += values[k]
    return total


@inner_kernel
def softmax_rows(rows: int, features: int, x: Pointer, x_row: int, y: Pointer, y_row: int) -> None:
    """Write ``exp(x) / sum(exp(x))`` of each row to ``y``."""
    for row in range(rows):
        source, out = shift(x, row * x_row), shift(y, row * y_row)
        exponentials(features, source, largest(source, features), out)
        total = sum_of(out, features)
        for k in range(features):
            out[k] = out[k] / total


@inner_kernel
def softmax_backward_rows(
    rows: int, features: int, grad: Pointer, y: Pointer, y_row: int, out: Pointer, out_row: int
) -> None:
    """Write ``y * (grad - sum(grad * y))`` of each row to ``out``; ``grad`` has rows like ``y``."""
    for row in range(rows):
        g, own, to = shift(grad, row * y_row), shift(y, row * y_row), shift(out, row * out_row)
        total = 0.0
        for k in range(features):
            total += g[k] * own[k]
        for k in range(features):
            to[k] = own[k] * (g[k] - total)


@inner_kernel
def log_softmax_rows(rows: int, features: int, x: Pointer, x_row: int, y: Pointer, y_row: int) -> None:
    """Write ``x - log(sum(exp(x)))`` of each row to ``y``."""
    for row in range(rows):
        source, out = shift(x, row * x_row), shift(y, row * y_row)
        most = largest(source, features)
        exponentials(features, source, most, out)
        total = log(sum_of(out, features))
        for k in range(features):
            out[k] = (source[k] - most) - total


@inner_kernel
def log_softmax_backward_rows(
    rows: int, features: int, grad: Pointer, y: Pointer, y_row: int, out: Pointer, out_row: int
) -> None:
    """Write ``grad - exp(y) * sum(grad)`` of each row to ``out``, which is neither; ``grad`` has rows like ``y``."""
    for row in range(rows):
        g, to = shift(grad, row * y_row), shift(out, row * out_row)
        exp_loop(features, shift(y, row * y_row), to)
        total = sum_of(g, features)
        for k in range(features):
            to[k] = g[k] - to[k] * total


_forward = public_kernel(input=read("(n, i)"), output=written("(n, i)"))
_backward = public_kernel(grad_output=read("(n, i)"), output=read("(n, i)"), grad_input=written("(n, i)"))


@_forward
def softmax_forward(input: Array, output: Array) -> None:
    """Write ``exp(input) / sum(exp(input))`` of each row to ``output``."""
    n, i = input.shape
    softmax_rows(n, i, pointer(input), i, pointer(output), i)


@_backward
def softmax_backward(grad_output: Array, output: Array, grad_input: Array) -> None:
    """Write ``output * (grad_output - sum(grad_output * output))`` of each row to ``grad_input``."""
    n, i = output.shape
    softmax_backward_rows(n, i, pointer(grad_output), pointer(output), i, pointer(grad_input), i)


@_forward
def log_softmax_forward(input: Array, output: Array) -> None:
    """Write ``input - log(sum(exp(input)))`` of each row to ``output``."""
    n, i = input.shape
    log_softmax_rows(n, i, pointer(input), i, pointer(output), i)


@_backward
def log_softmax_backward(grad_output: Array, output: Array, grad_input: Array) -> None:
    """Write ``grad_output - exp(output) * sum(grad_output)`` of each row to ``grad_input``, an array of its own."""
    n, i = output.shape
    log_softmax_backward_rows(n, i, pointer(grad_output), pointer(output), i, pointer(grad_input), i)

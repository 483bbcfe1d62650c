"""Losses over rows: cross entropy and negative log likelihood, one row at a time.

``x`` are a row's outputs; the gradient times ``factor`` is written to ``grad``, which may be ``target``.
"""

from __future__ import annotations

from math import log

from numba import float64

from fastbp_kernels.compiler.cache import inner_kernel
from fastbp_kernels.compiler.elementwise import zero_loop
from fastbp_kernels.compiler.pointers import Pointer, shift, stack_memory
from fastbp_kernels.functions.activations import exp_loop

_PIECE = 64  # numbers whose exponentials are computed at a time where they are not kept


@inner_kernel
def cross_entropy_with_gradient(
    outputs: int, x: Pointer, own: int, weight: float, factor: float, grad: Pointer
) -> float:
    """Return ``weight * (log(sum of exp(x)) - x[own])`` and write softmax minus one-hot."""
    most = _largest(x, outputs)
    picked = float64(x[own] - most)
    for k in range(outputs):
        grad[k] = x[k] - most
    exp_loop(outputs, grad, grad)
    exponentials = 0.0
    for k in range(outputs):
        exponentials += grad[k]
    weighted = factor * weight
    scale = weighted / exponentials
    for k in range(outputs):
        grad[k] = grad[k] * scale
    grad[own] -= weighted
    loss: float = (log(exponentials) - picked) * weight
    return loss


@inner_kernel
def cross_entropy(outputs: int, x: Pointer, own: int, weight: float) -> float:
    """Return the same loss."""
    most = _largest(x, outputs)
    loss: float = (log(_sum_of_exponentials(outputs, x, most)) - float64(x[own] - most)) * weight
    return loss


@inner_kernel
def soft_cross_entropy(
    outputs: int, x: Pointer, target: Pointer, own: int, smoothing: float, weights: Pointer, factor: float,
    grad: Pointer, wants_gradient: bool,
) -> float:  # fmt: skip
    """Return the sum of ``weights * p * (log(sum of exp(x)) - x)`` for the classes' probabilities p.

    They are ``target``, or 1 for the class ``own`` if that is not negative, then mixed with ``smoothing`` parts of a
    uniform distribution.
    """
    kept, share = 1.0 - smoothing, smoothing / outputs
    most = _largest(x, outputs)
    exponentials = _sum_of_exponentials(outputs, x, most)
    log_sum = log(exponentials)
    loss, total = 0.0, 0.0
    for k in range(outputs):
        weighted = _probability(target, own, k, kept, share) * weights[k]
        total += weighted
        loss += weighted * (log_sum - float64(x[k] - most))
    if wants_gradient:
        piece = stack_memory(x, _PIECE)
        for first in range(0, outputs, _PIECE):
            count = min(_PIECE, outputs - first)
            _exponentials(count, shift(x, first), most, piece)
            for k in range(count):
                weighted = _probability(target, own, first + k, kept, share) * weights[first + k]
                grad[first + k] = factor * (piece[k] / exponentials * total - weighted)
    return loss


@inner_kernel
def negative_log_likelihood(
    outputs: int, x: Pointer, own: int, weight: float, factor: float, grad: Pointer, wants_gradient: bool
) -> float:
    """Return ``-weight * x[own]``."""
    if wants_gradient:
        zero_loop(outputs, grad)
        grad[own] = -factor * weight
    loss: float = -float64(x[own]) * weight
    return loss


@inner_kernel
def ignore_row(outputs: int, x: Pointer, are_logits: bool, grad: Pointer) -> None:
    """Write a gradient of zeros, or of NaN where softmax is NaN, as PyTorch does for a row that does not count."""
    most = _largest(x, outputs) if are_logits else 0.0
    for k in range(outputs):
        grad[k] = most - most


@inner_kernel
def _probability(target: Pointer, own: int, k: int, kept: float, share: float) -> float:
    if own >= 0:
        return kept + share if k == own else share
    return kept * target[k] + share


@inner_kernel
def _sum_of_exponentials(outputs: int, x: Pointer, most: float) -> float:
    """Return the sum of ``exp(x - most)``."""
    piece = stack_memory(x, _PIECE)
    total = 0.0
    for first in range(0, outputs, _PIECE):
        count = min(_PIECE, outputs - first)
        _exponentials(count, shift(x, first), most, piece)
        for k in range(count):
            total += piece[k]
    return total


@inner_kernel
def _exponentials(count: int, x: Pointer, most: float, out: Pointer) -> None:
    for k in range(count):
        out[k] = x[k] - most
    exp_loop(count, out, out)


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

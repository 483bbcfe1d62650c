"""Losses over rows: cross entropy and negative log likelihood, one row at a time.

``x`` are a row's outputs; the gradient times ``factor`` is written to ``grad``, which may be ``target``.
"""

from __future__ import annotations

from math import log

from numba import float64

from fastbp_kernels.compiler.cache import inner_kernel
from fastbp_kernels.compiler.elementwise import zero_loop
from fastbp_kernels.compiler.pointers import Pointer, shift, stack_memory
from fastbp_kernels.functions.softmax import exponentials, largest, sum_of

_PIECE = 64  # numbers whose exponentials are computed at a time where they are not kept


@inner_kernel
def cross_entropy_with_gradient(
    outputs: int, x: Pointer, own: int, weight: float, factor: float, grad: Pointer
) -> float:
    """Return ``weight * (log(sum of exp(x)) - x[own])`` and write softmax minus one-hot."""
    most = largest(x, outputs)
    picked = float64(x[own] - most)
    exponentials(outputs, x, most, grad)
    total = sum_of(grad, outputs)
    weighted = factor * weight
    scale = weighted / total
    for k in range(outputs):
        grad[k] = grad[k] * scale
    grad[own] -= weighted
    loss: float = (log(total) - picked) * weight
    return loss


@inner_kernel
def cross_entropy(outputs: int, x: Pointer, own: int, weight: float) -> float:
    """Return the same loss."""
    most = largest(x, outputs)
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
    most = largest(x, outputs)
    divisor = _sum_of_exponentials(outputs, x, most)
    log_sum = log(divisor)
    loss, total = 0.0, 0.0
    for k in range(outputs):
        weighted = _probability(target, own, k, kept, share) * weights[k]
        total += weighted
        loss += weighted * (log_sum - float64(x[k] - most))
    if wants_gradient:
        piece = stack_memory(x, _PIECE)
        for first in range(0, outputs, _PIECE):
            count = min(_PIECE, outputs - first)
            exponentials(count, shift(x, first), most, piece)
            for k in range(count):
                weighted = _probability(target, own, first + k, kept, share) * weights[first + k]
                grad[first + k] = factor * (piece[k] / divisor * total - weighted)
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
    most = largest(x, outputs) if are_logits else 0.0
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
        exponentials(count, shift(x, first), most, piece)
        for k in range(count):
            total += piece[k]
    return total

"""Losses over elements and their derivatives with respect to the prediction, on vectors.

A formula takes ``(v, x, y, *scalars, *vectors)``: vectors of the prediction, of the target, and of what the row in
``registry`` names. A value is returned as one factor or two, whose product is taken in float64. The formulas are
PyTorch's, and so are the derivatives at kinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

from llvmlite import ir

from fastbp_kernels.compiler.vectors import Vectors
from fastbp_kernels.functions.elementary import at_least, exp, exp_of_less, sigmoid
from fastbp_kernels.functions.logarithm import log, log1p

Factors = Sequence[ir.Value]

_LEAST_LOG = -100.0  # PyTorch's bound of a logarithm in BCELoss
_LEAST_SLOPE = 1e-12  # and of the denominator of its derivative


def squared(v: Vectors, x: ir.Value, y: ir.Value) -> Factors:
    """Return (x - y)**2."""
    difference = v.builder.fsub(x, y)
    return difference, difference


def half_squared_derivative(v: Vectors, x: ir.Value, y: ir.Value) -> ir.Value:
    """Return half the derivative of ``squared``."""
    return v.builder.fsub(x, y)


def absolute(v: Vectors, x: ir.Value, y: ir.Value) -> Factors:
    """Return |x - y|."""
    return (v.absolute(v.builder.fsub(x, y)),)


def absolute_derivative(v: Vectors, x: ir.Value, y: ir.Value) -> ir.Value:
    """Return the sign of x - y, 0 for 0 and for NaN."""
    difference, zero = v.builder.fsub(x, y), v.constant(0.0)
    negative = v.builder.select(v.builder.fcmp_ordered("<", difference, zero), v.constant(-1.0), zero)
    return v.builder.select(v.builder.fcmp_ordered(">", difference, zero), v.constant(1.0), negative)


def huber(v: Vectors, x: ir.Value, y: ir.Value, delta: ir.Value) -> Factors:
    """Return m (|d| - m / 2) for the difference d and m = min(|d|, delta)."""
    builder = v.builder
    size = v.absolute(builder.fsub(x, y))
    bounded = _at_most(v, size, delta)
    return bounded, v.fma(bounded, v.constant(-0.5), size)


def huber_derivative(v: Vectors, x: ir.Value, y: ir.Value, delta: ir.Value) -> ir.Value:
    """Return the difference, cut off at -delta and delta."""
    builder = v.builder
    return _at_least(v, _at_most(v, builder.fsub(x, y), delta), builder.fneg(delta))


def smooth_l1(v: Vectors, x: ir.Value, y: ir.Value, beta: ir.Value) -> Factors:
    """Return m / beta (|d| - m / 2) for the difference d and m = min(|d|, beta)."""
    bounded, rest = huber(v, x, y, beta)
    return v.builder.fdiv(bounded, beta), rest


def smooth_l1_derivative(v: Vectors, x: ir.Value, y: ir.Value, beta: ir.Value) -> ir.Value:
    """Return the difference over beta, cut off at -1 and 1."""
    return v.builder.fdiv(huber_derivative(v, x, y, beta), beta)


def bce(v: Vectors, x: ir.Value, y: ir.Value, weight: ir.Value) -> Factors:
    """Return -weight (y log x + (1 - y) log(1 - x)), with logarithms of -100 or more."""
    builder = v.builder
    of_one = at_least(v, log(v, x), _LEAST_LOG)
    of_zero = at_least(v, log1p(v, builder.fneg(x)), _LEAST_LOG)
    other = builder.fmul(builder.fsub(y, v.constant(1.0)), of_zero)
    return weight, v.fma(builder.fneg(y), of_one, other)


def bce_derivative(v: Vectors, x: ir.Value, y: ir.Value, weight: ir.Value) -> ir.Value:
    """Return weight (x - y) / (x (1 - x)), with a denominator of 1e-12 or more."""
    builder = v.builder
    denominator = at_least(v, builder.fmul(builder.fsub(v.constant(1.0), x), x), _LEAST_SLOPE)
    return builder.fdiv(builder.fmul(weight, builder.fsub(x, y)), denominator)


def bce_with_logits(v: Vectors, x: ir.Value, y: ir.Value, weight: ir.Value, pos_weight: ir.Value) -> Factors:
    """Return weight ((1 - y) x + (1 + (pos_weight - 1) y) (log(1 + exp(-|x|)) + max(-x, 0)))."""
    builder, zero = v.builder, v.constant(0.0)
    softplus = log1p(v, exp_of_less(v, builder.fneg(v.absolute(x))))
    softplus = builder.fadd(softplus, builder.select(builder.fcmp_ordered("<", x, zero), builder.fneg(x), zero))
    linear = builder.fmul(builder.fsub(v.constant(1.0), y), x)
    return weight, v.fma(_log_weight(v, y, pos_weight), softplus, linear)


def bce_with_logits_derivative(
    v: Vectors, x: ir.Value, y: ir.Value, weight: ir.Value, pos_weight: ir.Value
) -> ir.Value:
    """Return weight ((1 + (pos_weight - 1) y) sigmoid(x) - pos_weight y)."""
    builder = v.builder
    slope = v.fma(_log_weight(v, y, pos_weight), sigmoid(v, x), builder.fneg(builder.fmul(pos_weight, y)))
    return builder.fmul(weight, slope)


def clipped_bce_with_logits(
    v: Vectors, x: ir.Value, y: ir.Value, eps: ir.Value, weight: ir.Value, pos_weight: ir.Value
) -> Factors:
    """Return -weight (pos_weight y log p + (1 - y) log(1 - p)) for p = sigmoid(x), p and 1 - p of eps or more.

    1 - p is rounded as in ``sklearn.metrics.log_loss``, which tells in the logarithm of a small one.
    """
    builder, one = v.builder, v.constant(1.0)
    p = sigmoid(v, x)
    of_zero = builder.fmul(builder.fsub(y, one), log(v, _at_least(v, builder.fsub(one, p), eps)))
    return weight, v.fma(builder.fneg(builder.fmul(pos_weight, y)), log(v, _at_least(v, p, eps)), of_zero)


def clipped_bce_with_logits_derivative(
    v: Vectors, x: ir.Value, y: ir.Value, eps: ir.Value, weight: ir.Value, pos_weight: ir.Value
) -> ir.Value:
    """Return the derivative of ``bce_with_logits``: nothing is cut off."""
    return bce_with_logits_derivative(v, x, y, weight, pos_weight)


def _log_weight(v: Vectors, y: ir.Value, pos_weight: ir.Value) -> ir.Value:
    return v.fma(v.builder.fsub(pos_weight, v.constant(1.0)), y, v.constant(1.0))


def poisson_of_log(v: Vectors, x: ir.Value, y: ir.Value, full: ir.Value, eps: ir.Value) -> Factors:
    """Return exp(x) - y x, and Stirling's approximation of log(y!) besides where ``full`` is 1."""
    builder = v.builder
    value = builder.fsub(exp(v, x), builder.fmul(y, x))
    return (builder.fadd(value, _stirling(v, y, full)),)


def poisson_of_log_derivative(v: Vectors, x: ir.Value, y: ir.Value, full: ir.Value, eps: ir.Value) -> ir.Value:
    """Return exp(x) - y."""
    return v.builder.fsub(exp(v, x), y)


def poisson(v: Vectors, x: ir.Value, y: ir.Value, full: ir.Value, eps: ir.Value) -> Factors:
    """Return x - y log(x + eps), and Stirling's approximation of log(y!) besides where ``full`` is 1."""
    builder = v.builder
    value = builder.fsub(x, builder.fmul(y, log(v, builder.fadd(x, eps))))
    return (builder.fadd(value, _stirling(v, y, full)),)


def poisson_derivative(v: Vectors, x: ir.Value, y: ir.Value, full: ir.Value, eps: ir.Value) -> ir.Value:
    """Return 1 - y / (x + eps)."""
    builder = v.builder
    return builder.fsub(v.constant(1.0), builder.fdiv(y, builder.fadd(x, eps)))


def _stirling(v: Vectors, y: ir.Value, full: ir.Value) -> ir.Value:
    """Return y log y - y + log(2 pi y) / 2 where y > 1 and ``full`` is 1, else 0."""
    builder, log_y = v.builder, log(v, y)
    half = v.constant(0.5)
    value = builder.fadd(
        builder.fsub(builder.fmul(y, log_y), y), builder.fmul(half, log(v, builder.fmul(v.constant(2 * pi), y)))
    )
    counts = builder.and_(
        builder.fcmp_ordered(">", y, v.constant(1.0)), builder.fcmp_ordered("!=", full, v.constant(0.0))
    )
    return builder.select(counts, value, v.constant(0.0))


def kl_div(v: Vectors, x: ir.Value, y: ir.Value) -> Factors:
    """Return y (log y - x), where y log y is 0 for y = 0."""
    builder, zero = v.builder, v.constant(0.0)
    is_zero = builder.fcmp_ordered("==", y, zero)
    entropy = builder.select(is_zero, zero, builder.fmul(y, log(v, y)))
    return (builder.fsub(entropy, builder.fmul(y, x)),)


def kl_div_derivative(v: Vectors, x: ir.Value, y: ir.Value) -> ir.Value:
    """Return -y."""
    return v.builder.fneg(y)


def kl_div_of_log(v: Vectors, x: ir.Value, y: ir.Value) -> Factors:
    """Return exp(y) (y - x)."""
    return exp(v, y), v.builder.fsub(y, x)


def kl_div_of_log_derivative(v: Vectors, x: ir.Value, y: ir.Value) -> ir.Value:
    """Return -exp(y)."""
    return v.builder.fneg(exp(v, y))


def quantile(v: Vectors, x: ir.Value, y: ir.Value, level: ir.Value) -> Factors:
    """Return level d for d = y - x of 0 or more, else (level - 1) d."""
    difference = v.builder.fsub(y, x)
    return difference, v.builder.fsub(level, _is_negative(v, difference))


def quantile_derivative(v: Vectors, x: ir.Value, y: ir.Value, level: ir.Value) -> ir.Value:
    """Return -level for y - x of 0 or more, else 1 - level."""
    return v.builder.fsub(_is_negative(v, v.builder.fsub(y, x)), level)


def _is_negative(v: Vectors, x: ir.Value) -> ir.Value:
    """Return 1 where x < 0, else 0."""
    return v.builder.select(v.builder.fcmp_ordered("<", x, v.constant(0.0)), v.constant(1.0), v.constant(0.0))


def _at_most(v: Vectors, x: ir.Value, limit: ir.Value) -> ir.Value:
    """Return min(x, limit), or NaN where x is."""
    return v.builder.select(v.builder.fcmp_ordered(">", x, limit), limit, x)


def _at_least(v: Vectors, x: ir.Value, limit: ir.Value) -> ir.Value:
    """Return max(x, limit), or NaN where x is."""
    return v.builder.select(v.builder.fcmp_ordered("<", x, limit), limit, x)

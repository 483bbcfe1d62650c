"""Activations that are other formulas on either side of some numbers, on vectors.

Each derivative is a function of the input, and takes the side that PyTorch takes at the numbers themselves. For NaN its
sides depend on the place in an array; here it is the side of those places that it computes in vectors.
"""

from __future__ import annotations

from llvmlite import ir

from fastbp_kernels.compiler.vectors import Vectors
from fastbp_kernels.functions.elementary import exp, expm1


def leaky_relu(v: Vectors, x: ir.Value, negative_slope: ir.Value) -> ir.Value:
    """Return x, or x * negative_slope where x is not above 0."""
    return times_leaky_relu_derivative(v, x, x, negative_slope)


def times_leaky_relu_derivative(v: Vectors, grad: ir.Value, x: ir.Value, negative_slope: ir.Value) -> ir.Value:
    """Return grad, or grad * negative_slope where x is not above 0."""
    b = v.builder
    return b.select(b.fcmp_ordered(">", x, v.constant(0.0)), grad, b.fmul(grad, negative_slope))


def elu(v: Vectors, x: ir.Value, scale: ir.Value, alpha: ir.Value, rate: ir.Value) -> ir.Value:
    """Return x * scale, or alpha * (exp(x * rate) - 1) where x is not above 0."""
    b = v.builder
    negative = b.fmul(expm1(v, b.fmul(x, rate)), alpha)
    return b.select(b.fcmp_ordered(">", x, v.constant(0.0)), b.fmul(x, scale), negative)


def times_elu_derivative(
    v: Vectors, grad: ir.Value, x: ir.Value, scale: ir.Value, alpha: ir.Value, rate: ir.Value
) -> ir.Value:
    """Return grad * scale, or grad * rate * alpha * exp(x * rate) where x is not above 0."""
    b = v.builder
    negative = b.fmul(b.fmul(b.fmul(grad, rate), alpha), exp(v, b.fmul(x, rate)))
    return b.select(b.fcmp_ordered(">", x, v.constant(0.0)), b.fmul(grad, scale), negative)


def hardtanh(v: Vectors, x: ir.Value, least: ir.Value, most: ir.Value) -> ir.Value:
    """Return x, cut off at least and most; NaN for NaN."""
    b = v.builder
    x = b.select(b.fcmp_ordered("<", x, least), least, x)
    return b.select(b.fcmp_ordered(">", x, most), most, x)


def times_hardtanh_derivative(v: Vectors, grad: ir.Value, x: ir.Value, least: ir.Value, most: ir.Value) -> ir.Value:
    """Return grad between least and most, 0 elsewhere and for NaN."""
    b = v.builder
    inside = b.and_(b.fcmp_ordered(">", x, least), b.fcmp_ordered("<", x, most))
    return b.select(inside, grad, v.constant(0.0))


def hardsigmoid(v: Vectors, x: ir.Value) -> ir.Value:
    """Return x / 6 + 1/2, cut off at 0 and 1."""
    b = v.builder
    return b.fmul(hardtanh(v, b.fadd(x, v.constant(3.0)), v.constant(0.0), v.constant(6.0)), _sixth(v))


def times_hardsigmoid_derivative(v: Vectors, grad: ir.Value, x: ir.Value) -> ir.Value:
    """Return grad / 6 between -3 and 3, 0 elsewhere and for NaN."""
    sixth = v.builder.fmul(grad, _sixth(v))
    return times_hardtanh_derivative(v, sixth, x, v.constant(-3.0), v.constant(3.0))


def hardswish(v: Vectors, x: ir.Value) -> ir.Value:
    """Return x * hardsigmoid(x)."""
    return v.builder.fmul(x, hardsigmoid(v, x))


def times_hardswish_derivative(v: Vectors, grad: ir.Value, x: ir.Value) -> ir.Value:
    """Return 0 up to -3, grad from 3 on, and grad * (x / 3 + 1/2) between them."""
    b = v.builder
    slope = b.fmul(grad, v.fma(x, v.constant(1 / 3), v.constant(0.5)))
    above = b.select(b.fcmp_ordered(">=", x, v.constant(3.0)), grad, slope)
    return b.select(b.fcmp_ordered("<=", x, v.constant(-3.0)), v.constant(0.0), above)


def threshold(v: Vectors, x: ir.Value, limit: ir.Value, value: ir.Value) -> ir.Value:
    """Return x, or value where x <= limit."""
    b = v.builder
    return b.select(b.fcmp_ordered("<=", x, limit), value, x)


def times_threshold_derivative(v: Vectors, grad: ir.Value, x: ir.Value, limit: ir.Value, value: ir.Value) -> ir.Value:
    """Return grad, or 0 where x <= limit."""
    b = v.builder
    return b.select(b.fcmp_ordered("<=", x, limit), v.constant(0.0), grad)


def hardshrink(v: Vectors, x: ir.Value, width: ir.Value) -> ir.Value:
    """Return x, or 0 from -width to width; NaN for NaN."""
    b = v.builder
    inside = b.and_(b.fcmp_ordered(">=", x, b.fneg(width)), b.fcmp_ordered("<=", x, width))
    return b.select(inside, v.constant(0.0), x)


def softshrink(v: Vectors, x: ir.Value, width: ir.Value) -> ir.Value:
    """Return x less width above width, x plus width below -width, 0 between them; NaN for NaN."""
    b = v.builder
    below = b.select(b.fcmp_ordered("<", x, b.fneg(width)), b.fadd(x, width), b.fmul(x, v.constant(0.0)))
    return b.select(b.fcmp_ordered(">", x, width), b.fsub(x, width), below)


def times_shrink_derivative(v: Vectors, grad: ir.Value, x: ir.Value, width: ir.Value) -> ir.Value:
    """Return grad, or 0 where x is from -width to width, and for NaN."""
    b = v.builder
    outside = b.or_(b.fcmp_ordered("<", x, b.fneg(width)), b.fcmp_ordered(">", x, width))
    return b.select(outside, grad, v.constant(0.0))


def _sixth(v: Vectors) -> ir.Constant:
    """Return what to multiply with instead of dividing by 6, which takes ten times as long; six of it are 1."""
    return v.constant(1 / 6)

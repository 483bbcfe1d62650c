"""SiLU, Mish, softplus, softsign and the logarithm of the sigmoid, on vectors.

Each derivative is a function of the input. Where PyTorch returns NaN at infinity, these do.
"""

from __future__ import annotations

from llvmlite import ir

from fastbp_kernels.compiler.vectors import Vectors
from fastbp_kernels.functions.elementary import at_most, exp, sigmoid
from fastbp_kernels.functions.logarithm import log1p


def silu(v: Vectors, x: ir.Value) -> ir.Value:
    """Return x * sigmoid(x)."""
    return v.builder.fmul(x, sigmoid(v, x))


def times_silu_derivative(v: Vectors, grad: ir.Value, x: ir.Value) -> ir.Value:
    """Return grad * s * (1 + x * (1 - s)) with s = sigmoid(x)."""
    b, one = v.builder, v.constant(1.0)
    s = sigmoid(v, x)
    return b.fmul(b.fmul(grad, s), v.fma(x, b.fsub(one, s), one))


def mish(v: Vectors, x: ir.Value) -> ir.Value:
    """Return x * tanh(softplus(x)) (Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", 2019)."""
    t, _ = _tanh_of_softplus(v, x)
    return v.builder.fmul(x, t)


def times_mish_derivative(v: Vectors, grad: ir.Value, x: ir.Value) -> ir.Value:
    """Return grad * (t + x * sigmoid(x) * (1 - t**2)) with t = tanh(softplus(x))."""
    b, one = v.builder, v.constant(1.0)
    t, power = _tanh_of_softplus(v, x)
    s = b.fdiv(power, b.fadd(power, one))
    return b.fmul(grad, v.fma(b.fmul(x, s), b.fsub(one, b.fmul(t, t)), t))


def _tanh_of_softplus(v: Vectors, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2) and e = exp(x); beyond 20, the first is 1."""
    b, two = v.builder, v.constant(2.0)
    power = exp(v, at_most(v, x, 40.0))
    product = b.fmul(power, b.fadd(power, two))
    return b.fdiv(product, b.fadd(product, two)), power


def softplus(v: Vectors, x: ir.Value, beta: ir.Value, threshold: ir.Value) -> ir.Value:
    """Return log(1 + exp(x * beta)) / beta, or x where x * beta is above the threshold."""
    b = v.builder
    scaled = b.fmul(x, beta)
    value = b.fdiv(log1p(v, exp(v, scaled)), beta)
    return b.select(b.fcmp_ordered(">", scaled, threshold), x, value)


def times_softplus_derivative(v: Vectors, grad: ir.Value, x: ir.Value, beta: ir.Value, threshold: ir.Value) -> ir.Value:
    """Return grad * e / (e + 1) with e = exp(x * beta), or grad where x * beta is above the threshold."""
    b = v.builder
    scaled = b.fmul(x, beta)
    power = exp(v, scaled)
    slope = b.fmul(grad, b.fdiv(power, b.fadd(power, v.constant(1.0))))
    return b.select(b.fcmp_ordered(">", scaled, threshold), grad, slope)


def softsign(v: Vectors, x: ir.Value) -> ir.Value:
    """Return x / (1 + |x|)."""
    return v.builder.fdiv(x, v.builder.fadd(v.absolute(x), v.constant(1.0)))


def times_softsign_derivative(v: Vectors, grad: ir.Value, x: ir.Value) -> ir.Value:
    """Return grad / (1 + |x|)**2, at infinity NaN."""
    b, one = v.builder, v.constant(1.0)
    reciprocal = b.fdiv(one, b.fadd(v.absolute(x), one))
    nan_at_infinity = b.fsub(x, x)
    return b.fmul(grad, v.fma(reciprocal, reciprocal, nan_at_infinity))


def log_sigmoid(v: Vectors, x: ir.Value) -> ir.Value:
    """Return min(x, 0) - log(1 + exp(-|x|))."""
    b = v.builder
    return b.fsub(at_most(v, x, 0.0), log1p(v, exp(v, b.fneg(v.absolute(x)))))


def times_log_sigmoid_derivative(v: Vectors, grad: ir.Value, x: ir.Value) -> ir.Value:
    """Return grad * sigmoid(-x)."""
    return v.builder.fmul(grad, sigmoid(v, v.builder.fneg(x)))

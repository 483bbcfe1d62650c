"""SiLU, Mish, softplus, softsign, tanhshrink and the logarithm of the sigmoid, on vectors.

Each returns the value and the derivative. Where PyTorch returns NaN at infinity, these do.
"""

from __future__ import annotations

from llvmlite import ir

from fastbp_kernels.compiler.vectors import Vectors
from fastbp_kernels.functions.elementary import at_most, exp, exp_of_less, sigmoid, tanh
from fastbp_kernels.functions.logarithm import log1p


def silu(v: Vectors, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return x * s and s * (1 + x * (1 - s)), with s = sigmoid(x)."""
    b, one = v.builder, v.constant(1.0)
    s = sigmoid(v, x)
    return b.fmul(x, s), b.fmul(s, v.fma(x, b.fsub(one, s), one))


def mish(v: Vectors, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return x * t and t + x * sigmoid(x) * (1 - t**2), with t = tanh(softplus(x)).

    t = tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2) with e = exp(x); beyond 20 it is 1 (Misra, "Mish: A Self
    Regularized Non-Monotonic Activation Function", 2019).
    """
    b, one, two = v.builder, v.constant(1.0), v.constant(2.0)
    power = exp(v, at_most(v, x, 40.0))
    product = b.fmul(power, b.fadd(power, two))
    t = b.fdiv(product, b.fadd(product, two))
    s = b.fdiv(power, b.fadd(power, one))
    return b.fmul(x, t), v.fma(b.fmul(x, s), b.fsub(one, b.fmul(t, t)), t)


def softplus(v: Vectors, x: ir.Value, beta: ir.Value, threshold: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return log(1 + e) / beta and e / (e + 1) with e = exp(x * beta), or x and 1 beyond x * beta = threshold."""
    b, one = v.builder, v.constant(1.0)
    scaled = b.fmul(x, beta)
    power = exp(v, scaled)
    beyond = b.fcmp_ordered(">", scaled, threshold)
    value, slope = b.fmul(log1p(v, power), b.fdiv(one, beta)), b.fdiv(power, b.fadd(power, one))
    return b.select(beyond, x, value), b.select(beyond, one, slope)


def softsign(v: Vectors, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return x / (1 + |x|) and 1 / (1 + |x|)**2, the latter at infinity NaN."""
    b, one = v.builder, v.constant(1.0)
    reciprocal = b.fdiv(one, b.fadd(v.absolute(x), one))
    nan_at_infinity = b.fsub(x, x)
    return b.fdiv(x, b.fadd(v.absolute(x), one)), v.fma(reciprocal, reciprocal, nan_at_infinity)


def log_sigmoid(v: Vectors, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return min(x, 0) - log(1 + exp(-|x|)) and sigmoid(-x)."""
    b = v.builder
    value = b.fsub(at_most(v, x, 0.0), log1p(v, exp_of_less(v, b.fneg(v.absolute(x)))))
    return value, sigmoid(v, b.fneg(x))


def tanhshrink(v: Vectors, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return x - t and t**2, with t = tanh(x)."""
    b = v.builder
    t = tanh(v, x)
    return b.fsub(x, t), b.fmul(t, t)

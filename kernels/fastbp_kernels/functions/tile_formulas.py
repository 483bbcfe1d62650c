"""ReLU, the derivatives that are functions of an activation's output, and the update of SGD, on vectors.

They are cheap enough for the tile to apply. Single modules, the optimiser and the engine's fused passes all use these,
which is why they give the same bits.
"""

from __future__ import annotations

from llvmlite import ir

from fastbp_kernels.compiler.vectors import Vectors


def relu(v: Vectors, x: ir.Value) -> ir.Value:
    """Return max(x, 0), or NaN for NaN."""
    return times_relu_derivative(v, x, x)


def times_relu_derivative(v: Vectors, grad: ir.Value, output: ir.Value) -> ir.Value:
    """Return 0 where ``output`` <= 0, else ``grad``: also where ``output`` is NaN, as PyTorch does."""
    zero = v.constant(0.0)
    return v.builder.select(v.builder.fcmp_ordered("<=", output, zero), zero, grad)


def times_tanh_derivative(v: Vectors, grad: ir.Value, output: ir.Value) -> ir.Value:
    """Return grad * (1 - output**2)."""
    return v.builder.fmul(grad, v.builder.fsub(v.constant(1.0), v.builder.fmul(output, output)))


def times_sigmoid_derivative(v: Vectors, grad: ir.Value, output: ir.Value) -> ir.Value:
    """Return grad * (1 - output) * output."""
    rest = v.builder.fsub(v.constant(1.0), output)
    return v.builder.fmul(v.builder.fmul(grad, rest), output)


def sgd(v: Vectors, lr: ir.Value, parameter: ir.Value, grad: ir.Value) -> ir.Value:
    """Return parameter - lr * grad, as PyTorch rounds it."""
    return v.fma(grad, v.builder.fneg(lr), parameter)

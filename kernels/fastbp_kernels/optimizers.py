"""Updates of a flat parameter vector."""

from __future__ import annotations

from llvmlite import ir

from fastbp_kernels.cache import kernel
from fastbp_kernels.elementwise import elementwise2_scaled
from fastbp_kernels.pointers import Array, pointer
from fastbp_kernels.vectors import Vectors


def _descend(v: Vectors, step: ir.Value, parameter: ir.Value, grad: ir.Value) -> ir.Value:
    """Return parameter - step * grad, as PyTorch rounds it."""
    return v.fma(grad, v.builder.fneg(step), parameter)


sgd_loop = elementwise2_scaled(_descend)


@kernel
def sgd_step(parameter: Array, grad: Array, lr: float) -> None:
    """Subtract ``lr * grad`` from ``parameter``, with one rounding where the CPU has fused multiply-add.

    Parameters
    ----------
    parameter : vector, read and written
    grad : vector of the same size and dtype, read
    lr : scalar of that dtype
    """
    sgd_loop(parameter.size, lr, pointer(parameter), pointer(grad), pointer(parameter))

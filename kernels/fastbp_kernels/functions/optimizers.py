"""Updates of a flat parameter vector."""

from __future__ import annotations

from fastbp_kernels.compiler.elementwise import elementwise2_scaled
from fastbp_kernels.compiler.pointers import Array, pointer
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.functions.epilogues import descend

sgd_loop = elementwise2_scaled(descend)


@public_kernel(parameter=written(), grad=read())
def sgd_step(parameter: Array, grad: Array, lr: float) -> None:
    """Subtract ``lr * grad`` from ``parameter``, with one rounding where the CPU has fused multiply-add.

    Parameters
    ----------
    parameter : array of any shape, read and written
    grad : array of that shape and dtype, read
    lr : scalar of that dtype
    """
    sgd_loop(parameter.size, lr, pointer(parameter), pointer(grad), pointer(parameter))

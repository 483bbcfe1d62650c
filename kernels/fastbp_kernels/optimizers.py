"""Updates of a flat parameter vector."""

from __future__ import annotations

from fastbp_kernels.cache import kernel
from fastbp_kernels.elementwise import elementwise2_scaled
from fastbp_kernels.epilogues import descend
from fastbp_kernels.pointers import Array, pointer

sgd_loop = elementwise2_scaled(descend)


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

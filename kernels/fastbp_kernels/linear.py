"""Matrix product with bias, and its two gradients.

Arrays are C-contiguous and of one float dtype; none may overlap one that is written.
"""

from __future__ import annotations

from fastbp_kernels.cache import kernel
from fastbp_kernels.pointers import pointer
from fastbp_kernels.product import ROWS, TRANSPOSED, product
from fastbp_kernels.sums import add_column_sums
from fastbp_kernels.tile import ADD, STORE


@kernel
def linear_forward(input, weight, bias, output):
    """Write ``input @ weight.T + bias`` to ``output``.

    Parameters
    ----------
    input : array of shape (n, i), read
    weight : array of shape (o, i), read
    bias : array of shape (o,), read, or (0,) for none
    output : array of shape (n, o), written
    """
    o, i = weight.shape
    product(
        output.shape[0], o, i, pointer(input), i, 1, pointer(weight), i, TRANSPOSED, bias.size > 0, pointer(bias),
        pointer(output), o, STORE, pointer(output), o,
    )  # fmt: skip


@kernel
def linear_backward_input(grad_output, weight, grad_input):
    """Write ``grad_output @ weight`` to ``grad_input``.

    Parameters
    ----------
    grad_output : array of shape (n, o), read
    weight : array of shape (o, i), read
    grad_input : array of shape (n, i), written
    """
    o, i = weight.shape
    product(
        grad_output.shape[0], i, o, pointer(grad_output), o, 1, pointer(weight), i, ROWS, False, pointer(weight),
        pointer(grad_input), i, STORE, pointer(grad_input), i,
    )  # fmt: skip


@kernel
def linear_backward_parameters(grad_output, input, grad_weight, grad_bias):
    """Add ``grad_output.T @ input`` to ``grad_weight`` and the column sums of ``grad_output`` to ``grad_bias``.

    Parameters
    ----------
    grad_output : array of shape (n, o), read
    input : array of shape (n, i), read
    grad_weight : array of shape (o, i), read and written
    grad_bias : array of shape (o,), read and written, or (0,) for none
    """
    o, i = grad_weight.shape
    n = grad_output.shape[0]
    g = pointer(grad_output)
    weight = pointer(grad_weight)
    product(o, i, n, g, 1, o, pointer(input), i, ROWS, False, g, weight, i, ADD, weight, i)
    if grad_bias.size:
        add_column_sums(n, o, g, o, pointer(grad_bias))

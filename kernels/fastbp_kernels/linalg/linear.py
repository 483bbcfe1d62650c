"""Matrix product with bias, and its two gradients.

Each kernel comes twice: whole, for one thread, and as a share, for several threads that call it side by side, each with
its own ``rank`` below ``ranks``. Together the shares write the same bits as the whole.

Arrays are C-contiguous and of one float dtype; none may overlap one that is written. Which arrays the kernels take and
write is declared at the top, once for each pair.
"""

from __future__ import annotations

from fastbp_kernels.compiler.pointers import Array, pointer, shift
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.linalg.column_sums import add_column_sums
from fastbp_kernels.linalg.product import ROWS, TRANSPOSED, product, transposed_product
from fastbp_kernels.linalg.tile import ADD, STORE
from fastbp_kernels.parallel.partition import rank_range

forward_kernel = public_kernel(
    input=read("(n, i)"), weight=read("(o, i)"), bias=read("(o,)", or_empty=True), output=written("(n, o)")
)
input_kernel = public_kernel(grad_output=read("(n, o)"), weight=read("(o, i)"), grad_input=written("(n, i)"))
parameters_kernel = public_kernel(
    grad_output=read("(n, o)"), input=read("(n, i)"), grad_weight=written("(o, i)"),
    grad_bias=written("(o,)", or_empty=True),
)  # fmt: skip
backward_kernel = public_kernel(
    grad_output=read("(n, o)"), input=read("(n, i)"), weight=read("(o, i)"), grad_weight=written("(o, i)"),
    grad_bias=written("(o,)", or_empty=True), grad_input=written("(n, i)"),
)  # fmt: skip


@forward_kernel
def linear_forward(input: Array, weight: Array, bias: Array, output: Array) -> None:
    """Write ``input @ weight.T + bias`` to ``output``.

    Parameters
    ----------
    input : array of shape (n, i), read
    weight : array of shape (o, i), read
    bias : array of shape (o,), read, or (0,) for none
    output : array of shape (n, o), written
    """
    linear_forward_share(0, 1, input, weight, bias, output)


@forward_kernel
def linear_forward_share(rank: int, ranks: int, input: Array, weight: Array, bias: Array, output: Array) -> None:
    """Write this rank's rows of ``output``; see ``linear_forward``."""
    o, i = weight.shape
    first, stop = rank_range(output.shape[0], 1, rank, ranks)
    y = shift(pointer(output), first * o)
    product(
        stop - first, o, i, shift(pointer(input), first * i), i, 1, pointer(weight), i, TRANSPOSED, bias.size > 0,
        pointer(bias), y, o, STORE, y, o, 0.0,
    )  # fmt: skip


@input_kernel
def linear_backward_input(grad_output: Array, weight: Array, grad_input: Array) -> None:
    """Write ``grad_output @ weight`` to ``grad_input``.

    Parameters
    ----------
    grad_output : array of shape (n, o), read
    weight : array of shape (o, i), read
    grad_input : array of shape (n, i), written
    """
    linear_backward_input_share(0, 1, grad_output, weight, grad_input)


@input_kernel
def linear_backward_input_share(rank: int, ranks: int, grad_output: Array, weight: Array, grad_input: Array) -> None:
    """Write this rank's rows of ``grad_input``; see ``linear_backward_input``."""
    o, i = weight.shape
    first, stop = rank_range(grad_output.shape[0], 1, rank, ranks)
    w, grad_x = pointer(weight), shift(pointer(grad_input), first * i)
    g = shift(pointer(grad_output), first * o)
    product(stop - first, i, o, g, o, 1, w, i, ROWS, False, w, grad_x, i, STORE, grad_x, i, 0.0)


@parameters_kernel
def linear_backward_parameters(grad_output: Array, input: Array, grad_weight: Array, grad_bias: Array) -> None:
    """Add ``grad_output.T @ input`` to ``grad_weight`` and the column sums of ``grad_output`` to ``grad_bias``.

    Parameters
    ----------
    grad_output : array of shape (n, o), read
    input : array of shape (n, i), read
    grad_weight : array of shape (o, i), read and written
    grad_bias : array of shape (o,), read and written, or (0,) for none
    """
    linear_backward_parameters_share(0, 1, grad_output, input, grad_weight, grad_bias)


@parameters_kernel
def linear_backward_parameters_share(
    rank: int, ranks: int, grad_output: Array, input: Array, grad_weight: Array, grad_bias: Array
) -> None:
    """Add to this rank's outputs of ``grad_weight`` and ``grad_bias``; see ``linear_backward_parameters``."""
    o, i = grad_weight.shape
    n = grad_output.shape[0]
    first, stop = rank_range(o, 1, rank, ranks)
    g = shift(pointer(grad_output), first)
    weight = shift(pointer(grad_weight), first * i)
    transposed_product(stop - first, i, n, g, o, ROWS, pointer(input), i, ROWS, weight, ADD, 0.0)
    if grad_bias.size:
        add_column_sums(n, stop - first, g, o, shift(pointer(grad_bias), first))


@backward_kernel
def linear_backward(
    grad_output: Array, input: Array, weight: Array, grad_weight: Array, grad_bias: Array, grad_input: Array
) -> None:
    """Do ``linear_backward_parameters`` and ``linear_backward_input`` in one call."""
    linear_backward_share(0, 1, grad_output, input, weight, grad_weight, grad_bias, grad_input)


@backward_kernel
def linear_backward_share(
    rank: int, ranks: int, grad_output: Array, input: Array, weight: Array, grad_weight: Array, grad_bias: Array,
    grad_input: Array,
) -> None:  # fmt: skip
    """Do this rank's share of both; see ``linear_backward``."""
    linear_backward_parameters_share(rank, ranks, grad_output, input, grad_weight, grad_bias)
    linear_backward_input_share(rank, ranks, grad_output, weight, grad_input)

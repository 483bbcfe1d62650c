"""Embeddings: a row of a weight for each index, and the sum of gradients for each row."""

from __future__ import annotations

from fastbp_kernels.compiler.elementwise import add_loop, copy_loop
from fastbp_kernels.compiler.pointers import Array, pointer, shift
from fastbp_kernels.compiler.public import indices, public_kernel, read, written


@public_kernel(index=indices("(n,)"), weight=read("(i, o)"), output=written("(n, o)"))
def embedding_forward(index: Array, weight: Array, output: Array) -> None:
    """Write ``weight[index]`` to ``output``.

    Parameters
    ----------
    index : array of int64, shape (n,), read
        From 0 up to i: nothing else is looked up without reading beside the weight.
    weight : array of shape (i, o), read
    output : array of shape (n, o), written
    """
    n, o = output.shape
    for row in range(n):
        copy_loop(o, shift(pointer(weight), index[row] * o), shift(pointer(output), row * o))


@public_kernel(index=indices("(n,)"), grad_output=read("(n, o)"), grad_weight=written("(i, o)"))
def embedding_backward(index: Array, grad_output: Array, grad_weight: Array) -> None:
    """Add each row of ``grad_output`` to that of ``grad_weight`` which ``index`` names, one after the other."""
    n, o = grad_output.shape
    for row in range(n):
        own = shift(pointer(grad_weight), index[row] * o)
        add_loop(o, own, shift(pointer(grad_output), row * o), own)

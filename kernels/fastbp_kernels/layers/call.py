"""What the kernels of a layer are called with, and where they find its rows.

A layer has up to three kernels, each for the rows that the call names::

    forward(layers, layer, call, x, x_row, y)                       writes the outputs y of the inputs x
    backward(layers, layer, call, grad_x)                           writes the gradient of the inputs
    gradients(layers, layer, call, x, x_row, grad, rank, ranks)     adds this rank's part of those of weight and bias

``layers`` is the network's table, ``layer`` the place of the layer's row in it. Rows of inputs and their gradients lie
``x_row`` numbers apart, those of outputs and their gradients ``layers[layer, Y_ROW]``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.late_kernel import TABLE
from fastbp_kernels.compiler.pointers import Array, Pointer, shift
from fastbp_kernels.layers.table import SAVED, Y_ROW, G


class LayerCall(NamedTuple):
    """Rows of a block that pass a layer.

    Attributes
    ----------
    parameter : pointer
        All parameters of the network.
    scalars : pointer
        Those of the layer, in the order of its row in ``registry``.
    scratch : pointer
        The block's memory, as the table lays it out.
    steps : int
        The number of mini-batches that the call has trained, or -1 where nothing is trained: then nothing is dropped.
    before : int
        Rows of the mini-batch before the block.
    first_row, rows : int
        The first one in the block, and their number.
    """

    parameter: Pointer
    scalars: Pointer
    scratch: Pointer
    steps: int
    before: int
    first_row: int
    rows: int


def _call(p: types.CPointer) -> Any:
    return types.NamedTuple((p, p, p, types.intp, types.intp, types.intp, types.intp), LayerCall)


def forward_arguments(p: types.CPointer) -> tuple[Any, ...]:
    """Return numba's types of the arguments of a ``forward``, given that of a pointer to floats."""
    return TABLE, types.intp, _call(p), p, types.intp, p


def backward_arguments(p: types.CPointer) -> tuple[Any, ...]:
    """Return those of a ``backward``."""
    return TABLE, types.intp, _call(p), p


def gradients_arguments(p: types.CPointer) -> tuple[Any, ...]:
    """Return those of a ``gradients``."""
    return TABLE, types.intp, _call(p), p, types.intp, p, types.intp, types.intp


@inner_kernel
def grad_rows(layers: Array, layer: int, call: LayerCall) -> Pointer:
    """Return the gradients of the call's rows of outputs."""
    rows: Pointer = shift(call.scratch, layers[layer, G] + call.first_row * layers[layer, Y_ROW])
    return rows


@inner_kernel
def saved_rows(layers: Array, layer: int, call: LayerCall) -> Pointer:
    """Return what is saved of the call's rows."""
    rows: Pointer = shift(call.scratch, layers[layer, SAVED] + call.first_row * layers[layer, Y_ROW])
    return rows

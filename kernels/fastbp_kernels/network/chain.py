"""Forward and backward of a whole network over one batch, in one call each: the bits of its layers one by one.

The network is read from the table ``layers``, as by the engine. What lies between its ends is kept in

    scratch:   | Z, Y, G of layer 0 | Z, Y, G of layer 1 | ... | Z, G of the last layer    (a row for each of the batch)

with rows that are not padded: Y holds a layer's outputs, G the gradient with respect to what its activation took, and Z
that itself where the backward pass needs it, or the derivative there. They are kept from forward to backward, so that a
second backward finds what the first one found. The batch, the outputs of the last layer and the gradients of both are
arrays of their own.

Several threads may run one call side by side, each with its own ``rank``: each takes some of the rows, then some of the
outputs for the gradients of the parameters.
"""

from __future__ import annotations

from fastbp_kernels.compiler.decorators import inner_kernel, kernel
from fastbp_kernels.compiler.elementwise import copy_loop
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, shift
from fastbp_kernels.functions.activations import IDENTITY
from fastbp_kernels.functions.losses.kernels import SLAB
from fastbp_kernels.layers.table import ACTIVATION, IN, KIND, OUT, WEIGHT, Y_ROW, G, X, Y, Z
from fastbp_kernels.linalg.product import ROWS, product
from fastbp_kernels.linalg.tile import STORE
from fastbp_kernels.network.passes import (
    backward_rows,
    first_trained,
    forward_layer,
    layer_gradients,
    times_layer_derivative,
)
from fastbp_kernels.parallel.barrier import barrier
from fastbp_kernels.parallel.partition import rank_range


@kernel
def chain_forward(
    rank: int, ranks: int, layers: Array, parameter: Array, scalars: Array, scratch: Array, input: Array, output: Array
) -> None:
    """Write the outputs for ``input`` to ``output``, and those of every layer before the last to its Y.

    Parameters
    ----------
    rank, ranks : int
        This thread and the number of threads.
    layers : array of int64, shape (layers, COLUMNS), read
    parameter : vector, read
    scalars : array of shape (layers, SCALARS), read
    scratch : vector, written
        Laid out by ``layers`` for as many rows as ``input`` has, or for more.
    input : array of shape (n, IN of the first layer), read
    output : array of shape (n, OUT of the last layer), written
    """
    last = layers.shape[0] - 1
    p, s = pointer(parameter), pointer(scratch)
    first, stop = rank_range(input.shape[0], SLAB, rank, ranks)
    x, x_row = shift(pointer(input), first * input.shape[1]), input.shape[1]
    for layer in range(last + 1):
        y_row = layers[layer, Y_ROW]
        y = shift(pointer(output), first * y_row)
        if layer < last:
            y = shift(s, layers[layer, Y] + first * y_row)
        z = y
        if layers[layer, Z] >= 0:
            z = shift(s, layers[layer, Z] + first * y_row)
        forward_layer(layers, layer, p, pointer(scalars), stop - first, x, x_row, z, y, y_row, True)
        x, x_row = y, y_row


@kernel
def chain_backward(
    rank: int, ranks: int, sync: Array, layers: Array, parameter: Array, scalars: Array, grad: Array, scratch: Array,
    input: Array, output: Array, grad_output: Array, grad_input: Array, wants_grad_input: bool,
) -> None:  # fmt: skip
    """Add the gradients of what is trained to ``grad``, and write that of the input to ``grad_input`` if it is wanted.

    Parameters
    ----------
    rank, ranks, layers, parameter, scalars
        As in ``chain_forward``.
    sync : array of int64, shape (SYNC_SIZE,)
        The threads' barrier, zeros at first.
    grad : vector, read and written
    scratch : vector, read and written
        As ``chain_forward`` left it.
    input : array of shape (n, IN of the first layer), read
    output : array of shape (n, OUT of the last layer), read
        Those of ``chain_forward``.
    grad_output : array of shape (n, OUT of the last layer), read
    grad_input : array of shape (n, IN of the first layer), written
        Overlaps nothing else; of any shape if it is not wanted.
    wants_grad_input : bool
    """
    last, n = layers.shape[0] - 1, input.shape[0]
    p, g, s, wait, numbers = pointer(parameter), pointer(grad), pointer(scratch), pointer(sync), pointer(scalars)
    first, stop = rank_range(n, SLAB, rank, ranks)
    _activation_of_last_layer(layers, numbers, s, pointer(output), pointer(grad_output), first, stop)
    earliest = 0 if wants_grad_input else first_trained(layers)  # nobody needs the gradients before that
    for layer in range(last, earliest, -1):
        backward_rows(layers, layer, p, numbers, s, first, stop, 0, 0)
    barrier(ranks, wait)
    for layer in range(last, earliest - 1, -1):
        x = pointer(input) if layer == 0 else shift(s, layers[layer, X])
        x_row, g_layer = layers[layer, IN], shift(s, layers[layer, G])
        layer_gradients(layers, layer, x, x_row, ROWS, g_layer, g, n, rank, ranks)
    if wants_grad_input:
        barrier(ranks, wait)
        i, o = layers[0, IN], layers[0, OUT]
        weight, grad_x = shift(p, layers[0, WEIGHT]), shift(pointer(grad_input), first * i)
        g_first = shift(s, layers[0, G] + first * o)
        product(
            stop - first, i, o, g_first, o, 1, weight, i, layers[0, KIND], False, weight, grad_x, i, STORE, grad_x, i,
            0.0,
        )  # fmt: skip


@inner_kernel
def _activation_of_last_layer(
    layers: Array, scalars: Pointer, scratch: Pointer, output: Pointer, grad_output: Pointer, first: int, stop: int
) -> None:
    """Carry some rows of ``grad_output`` through the last layer's activation to its G."""
    last = layers.shape[0] - 1
    o = layers[last, OUT]
    count, given, y = (stop - first) * o, shift(grad_output, first * o), shift(output, first * o)
    g = shift(scratch, layers[last, G] + first * o)
    if layers[last, ACTIVATION] == IDENTITY:
        copy_loop(count, given, g)
    else:
        saved = shift(scratch, layers[last, Z] + first * o) if layers[last, Z] >= 0 else y
        times_layer_derivative(layers, last, scalars, count, given, saved, g)

"""Forward and backward of a block of few rows in wide layers: all ranks work on one layer, then on the next.

Each rank computes a rectangle of a linear layer's outputs, cut by ``rank_rectangle``. What is no product of matrices is
done by rows. The ranks wait for each other behind each layer.
"""

from __future__ import annotations

from numba.types import CPointer, int64, intp

from fastbp_kernels.compiler.late_kernel import TABLE, late_kernel
from fastbp_kernels.compiler.pointers import Array, Pointer, shift
from fastbp_kernels.functions.activations import IDENTITY
from fastbp_kernels.functions.losses.registry import SLAB
from fastbp_kernels.layers.registry import LINEAR
from fastbp_kernels.layers.table import ACTIVATION, IN, OPERATION, OUT, Y_ROW, Y
from fastbp_kernels.linalg.tile import STORE, VALUE_EPILOGUES
from fastbp_kernels.network.operations import layer_forward
from fastbp_kernels.network.passes import (
    activate_layer,
    backward_rows,
    call_of,
    ends_with_product,
    finish_backward,
    linear_input_gradients,
    linear_outputs,
    saved_for,
)
from fastbp_kernels.parallel.barrier import barrier
from fastbp_kernels.parallel.partition import rank_range, rank_rectangle


@late_kernel(lambda p: (intp, intp, TABLE, p, p, p, p, intp, intp, intp, intp, CPointer(int64)))
def forward_layer_by_layer(
    rank: int, ranks: int, layers: Array, parameter: Pointer, scalars: Pointer, scratch: Pointer, x: Pointer,
    x_row: int, rows: int, steps: int, before: int, wait: Pointer,
) -> None:  # fmt: skip
    """Run all layers over the block's ``rows`` rows of ``x``, together with the other ranks; see ``forward_rows``.

    The rows of ``x`` must be there, of all ranks; those of the outputs are.
    """
    first, stop = rank_range(rows, SLAB, rank, ranks)
    for layer in range(layers.shape[0]):
        y_row, activation = layers[layer, Y_ROW], layers[layer, ACTIVATION]
        is_linear, own_z = layers[layer, OPERATION] == LINEAR, saved_for(layers, layer, scratch, first)
        if is_linear:
            top, bottom, left, right = rank_rectangle(rows, layers[layer, OUT], rank, ranks)
            z = saved_for(layers, layer, scratch, top)
            linear_outputs(
                layers, layer, parameter, bottom - top, shift(x, top * x_row), x_row, z, y_row, left, right
            )  # fmt: skip
        else:
            call = call_of(layer, parameter, scalars, scratch, steps, before, first, stop - first)
            layer_forward(layers[layer, OPERATION], layers, layer, call, shift(x, first * x_row), x_row, own_z)
        if activation != IDENTITY and not (is_linear and VALUE_EPILOGUES[activation] != STORE):
            if is_linear:
                barrier(ranks, wait)
            y = shift(scratch, layers[layer, Y] + first * y_row)
            activate_layer(layers, layer, scalars, (stop - first) * y_row, own_z, y, steps >= 0)
        barrier(ranks, wait)
        x, x_row = shift(scratch, layers[layer, Y]), y_row


@late_kernel(lambda p: (intp, intp, TABLE, p, p, p, intp, intp, intp, intp, CPointer(int64)))
def backward_layer_by_layer(
    rank: int, ranks: int, layers: Array, parameter: Pointer, scalars: Pointer, scratch: Pointer, earliest: int,
    rows: int, steps: int, before: int, wait: Pointer,
) -> None:  # fmt: skip
    """Carry the gradient from the last layer's G to that of ``earliest``, together with the other ranks.

    Each rank's rows of the last G must be there; all rows are in the others.
    """
    first, stop = rank_range(rows, SLAB, rank, ranks)
    barrier(ranks, wait)
    for layer in range(layers.shape[0] - 1, earliest, -1):
        if layers[layer, OPERATION] == LINEAR:
            top, bottom, left, right = rank_rectangle(rows, layers[layer, IN], rank, ranks)
            linear_input_gradients(layers, layer, parameter, scratch, top, bottom, left, right)
            if not ends_with_product(layers, layer):
                barrier(ranks, wait)
                call = call_of(layer, parameter, scalars, scratch, steps, before, first, stop - first)
                finish_backward(layers, layer, scalars, call)
        else:
            backward_rows(layers, layer, parameter, scalars, scratch, first, stop, steps, before)
        barrier(ranks, wait)

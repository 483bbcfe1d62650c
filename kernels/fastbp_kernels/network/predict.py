"""A network's outputs for many rows."""

from __future__ import annotations

from fastbp_kernels.compiler.decorators import kernel
from fastbp_kernels.compiler.pointers import Array, pointer, shift
from fastbp_kernels.functions.losses.kernels import SLAB
from fastbp_kernels.layers.table import Y_ROW, Y
from fastbp_kernels.network.passes import predict_layer
from fastbp_kernels.parallel.partition import rank_range


@kernel
def predict(
    rank: int, ranks: int, layers: Array, parameter: Array, scalars: Array, scratch: Array, block_rows: int,
    input: Array, output: Array,
) -> None:  # fmt: skip
    """Write the network's output for every row of ``input``.

    Parameters
    ----------
    rank, ranks : int
        This thread and the number of threads; each uses its own part of the scratch memory.
    layers : array of int64, shape (layers, COLUMNS), read
    parameter : vector, read
    scalars : array of shape (layers, SCALARS), read
    scratch : vector, written
    block_rows : int
        Rows for which ``layers`` was laid out in scratch.
    input : array of shape (n, IN of the first layer), read
    output : array of shape (n, OUT of the last layer), written
    """
    last = layers.shape[0] - 1
    p, s = pointer(parameter), shift(pointer(scratch), rank * (scratch.size // ranks))
    i, o = input.shape[1], output.shape[1]
    first, stop = rank_range(input.shape[0], SLAB, rank, ranks)
    for row in range(first, stop, block_rows):
        rows = min(block_rows, stop - row)
        x, x_row = shift(pointer(input), row * i), i
        for layer in range(last):
            y, y_row = shift(s, layers[layer, Y]), layers[layer, Y_ROW]
            predict_layer(layers, layer, p, pointer(scalars), s, rows, x, x_row, y, y_row)
            x, x_row = y, y_row
        y = shift(pointer(output), row * o)
        predict_layer(layers, last, p, pointer(scalars), s, rows, x, x_row, y, o)

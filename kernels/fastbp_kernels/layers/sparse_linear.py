"""A first ``Linear`` whose inputs are the numbers of sparse rows: see ``linalg.sparse``."""

from __future__ import annotations

from fastbp_kernels.compiler.pointers import Array, Pointer, int32_at, int64_at, pointer_at, shift
from fastbp_kernels.functions.losses.kernels import SLAB
from fastbp_kernels.layers.call import LayerCall
from fastbp_kernels.layers.table import (
    BIAS,
    IN,
    INTEGERS,
    OUT,
    SAVED,
    SAVED_ROW,
    TRAINED,
    TRAINED_BIAS,
    TRAINED_WEIGHT,
    WEIGHT,
    Y_ROW,
    G,
)
from fastbp_kernels.linalg.column_sums import add_column_sums
from fastbp_kernels.linalg.sparse import add_sparse_weight_gradient, sparse_forward
from fastbp_kernels.parallel.partition import rank_range

# Its integers: addresses of the rows' values; of their columns, int32; of where each row starts among them, int64.
_VALUES_AT, _COLUMNS_AT, _STARTS_AT = range(INTEGERS, INTEGERS + 3)


def layer_forward(layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, y: Pointer) -> None:
    """Compute the outputs of the call's rows."""
    bias = layers[layer, BIAS]
    sparse_forward(
        pointer_at(x, layers[layer, _VALUES_AT]), int32_at(layers[layer, _COLUMNS_AT]),
        int64_at(layers[layer, _STARTS_AT]), x, x_row, call.rows, layers[layer, IN], layers[layer, OUT],
        shift(call.parameter, layers[layer, WEIGHT]), 1 if bias >= 0 else 0, shift(call.parameter, max(bias, 0)), y,
        layers[layer, Y_ROW],
    )  # fmt: skip


def layer_gradients(
    layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, grad: Pointer, rank: int, ranks: int
) -> None:
    """Add the gradients of this rank's range of weight and bias, where they are trained."""
    g, y_row, trained = shift(call.scratch, layers[layer, G]), layers[layer, Y_ROW], layers[layer, TRAINED]
    if trained & TRAINED_WEIGHT:
        memory = shift(call.scratch, layers[layer, SAVED] + rank * layers[layer, SAVED_ROW])
        first, stop = rank_range(layers[layer, OUT], 1, rank, ranks)
        add_sparse_weight_gradient(
            pointer_at(x, layers[layer, _VALUES_AT]), int32_at(layers[layer, _COLUMNS_AT]),
            int64_at(layers[layer, _STARTS_AT]), x, x_row, call.rows, layers[layer, IN], g, y_row, first, stop,
            shift(grad, layers[layer, WEIGHT]), memory,
        )  # fmt: skip
    if trained & TRAINED_BIAS:
        first, stop = rank_range(layers[layer, OUT], SLAB, rank, ranks)
        add_column_sums(call.rows, stop - first, shift(g, first), y_row, shift(grad, layers[layer, BIAS] + first))

"""The gradients of a normalisation's weight and bias, which all normalisations compute alike."""

from __future__ import annotations

from fastbp_kernels.compiler.pointers import Array, Pointer, shift
from fastbp_kernels.functions.losses.kernels import SLAB
from fastbp_kernels.layers.call import LayerCall
from fastbp_kernels.layers.table import BIAS, OUT, SAVED, TRAINED, TRAINED_BIAS, TRAINED_WEIGHT, WEIGHT, Y_ROW, G
from fastbp_kernels.linalg.column_sums import add_column_product_sums, add_column_sums
from fastbp_kernels.parallel.partition import rank_range


def affine_gradients(
    layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, grad: Pointer, rank: int, ranks: int
) -> None:
    """Add the gradients of this rank's range of weight and bias, where they are trained."""
    y_row = layers[layer, Y_ROW]
    first, stop = rank_range(layers[layer, OUT], SLAB, rank, ranks)
    g = shift(call.scratch, layers[layer, G] + first)
    trained = layers[layer, TRAINED]
    if trained & TRAINED_WEIGHT:
        normalized = shift(call.scratch, layers[layer, SAVED] + first)
        weight_grad = shift(grad, layers[layer, WEIGHT] + first)
        add_column_product_sums(call.rows, stop - first, g, normalized, y_row, weight_grad)
    if trained & TRAINED_BIAS:
        add_column_sums(call.rows, stop - first, g, y_row, shift(grad, layers[layer, BIAS] + first))

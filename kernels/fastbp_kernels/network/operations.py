"""The operations of the engine's rows that are no product of dense matrices: forward, backward and gradients.

Each takes rows of its inputs and writes rows of its outputs, or of their gradients, as the table says.
"""

from __future__ import annotations

from numba import float64, intp

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.elementwise import add_loop, copy_loop
from fastbp_kernels.compiler.late_kernel import TABLE, late_kernel
from fastbp_kernels.compiler.pointers import Array, Pointer, int32_at, int64_at, pointer_at, shift
from fastbp_kernels.functions.losses.kernels import SLAB
from fastbp_kernels.layers.batch_norm import batch_norm, batch_norm_backward_rows
from fastbp_kernels.layers.dropout import dropout_rows
from fastbp_kernels.layers.layer_norm import layer_norm_backward_rows, layer_norm_rows
from fastbp_kernels.layers.prelu import add_slope_gradients, prelu_rows
from fastbp_kernels.layers.softmax import (
    log_softmax_backward_rows,
    log_softmax_rows,
    softmax_backward_rows,
    softmax_rows,
)
from fastbp_kernels.linalg.column_sums import add_column_product_sums, add_column_sums
from fastbp_kernels.linalg.sparse import add_sparse_weight_gradient, sparse_forward
from fastbp_kernels.network.table import (
    ADD,
    ADDED_G,
    ADDED_G_ROW,
    BATCH_NORM,
    BIAS,
    COLUMNS_AT,
    DROPOUT,
    FORWARDS,
    IN,
    LAYER_NORM,
    LOG_SOFTMAX,
    MEAN_AT,
    OPERATION,
    OPERATION_SCALARS,
    OTHER,
    OTHER_ROW,
    OUT,
    PRELU,
    SAVED,
    SAVED_ROW,
    SCALARS,
    SEED,
    SOFTMAX,
    SPARSE_LINEAR,
    STARTS_AT,
    TAKES_BATCH,
    THRESHOLD,
    TRAINED,
    TRAINED_BIAS,
    TRAINED_WEIGHT,
    VALUES_AT,
    VARIANCE_AT,
    WEIGHT,
    X_ROW,
    Y_ROW,
    G,
    X,
    Y,
)
from fastbp_kernels.parallel.partition import rank_range


@late_kernel(lambda p: (TABLE, intp, p, p, p, intp, intp, intp, intp, p, intp, p))
def operation_forward(
    layers: Array, layer: int, parameter: Pointer, scalars: Pointer, scratch: Pointer, steps: int, before: int,
    first_row: int, rows: int, x: Pointer, x_row: int, y: Pointer,
) -> None:  # fmt: skip
    """Compute ``rows`` rows of outputs, those from ``first_row`` on of the block, whose first is ``before`` others.

    ``steps`` is the number of mini-batches that the call has trained, or -1 where nothing is trained: then nothing is
    dropped.
    """
    operation, features, y_row = layers[layer, OPERATION], layers[layer, OUT], layers[layer, Y_ROW]
    s = shift(scalars, layer * SCALARS + OPERATION_SCALARS)
    if operation == LAYER_NORM:
        weight, bias = layers[layer, WEIGHT], layers[layer, BIAS]
        layer_norm_rows(
            rows, features, x, x_row, (1 if weight >= 0 else 0) + (1 if bias >= 0 else 0),
            shift(parameter, max(weight, 0)), shift(parameter, max(bias, 0)), s[0],
            shift(scratch, layers[layer, SAVED] + first_row * y_row),
            shift(scratch, layers[layer, SAVED_ROW] + first_row), y, y_row,
        )  # fmt: skip
    elif operation == BATCH_NORM:
        weight, momentum = layers[layer, WEIGHT], float64(s[1])
        if steps < 0 or not layers[layer, TAKES_BATCH]:
            momentum = -1.0
        elif momentum < 0:
            momentum = 1.0 / (layers[layer, FORWARDS] + steps + 1)
        batch_norm(
            rows, features, x, x_row, shift(parameter, max(weight, 0)), shift(parameter, max(layers[layer, BIAS], 0)),
            (1 if weight >= 0 else 0) + (1 if layers[layer, BIAS] >= 0 else 0), s[0], momentum,
            pointer_at(x, layers[layer, MEAN_AT]), pointer_at(x, layers[layer, VARIANCE_AT]), layers[layer, MEAN_AT],
            shift(scratch, layers[layer, SAVED] + first_row * y_row), shift(scratch, layers[layer, SAVED_ROW]), y,
            y_row,
        )  # fmt: skip
    elif operation == SPARSE_LINEAR:
        bias = layers[layer, BIAS]
        sparse_forward(
            pointer_at(x, layers[layer, VALUES_AT]), int32_at(layers[layer, COLUMNS_AT]),
            int64_at(layers[layer, STARTS_AT]), x, x_row, rows, layers[layer, IN], features,
            shift(parameter, layers[layer, WEIGHT]), 1 if bias >= 0 else 0, shift(parameter, max(bias, 0)), y, y_row,
        )  # fmt: skip
    elif operation == SOFTMAX:
        softmax_rows(rows, features, x, x_row, y, y_row)
    elif operation == LOG_SOFTMAX:
        log_softmax_rows(rows, features, x, x_row, y, y_row)
    elif operation == PRELU:
        slopes, each = shift(parameter, layers[layer, WEIGHT]), 1 if s[0] > 0 else 0
        prelu_rows(rows, features, slopes, each, x, x_row, x, x_row, y, y_row)
    elif operation == DROPOUT and steps >= 0:
        dropout_rows(
            rows, features, x, x_row, layers[layer, SEED], layers[layer, FORWARDS] + steps, before + first_row,
            layers[layer, THRESHOLD], s[0], s[1], s[2], y, y_row,
        )  # fmt: skip
    else:
        other, other_row = layers[layer, OTHER], layers[layer, OTHER_ROW]
        for row in range(rows):
            source, out = shift(x, row * x_row), shift(y, row * y_row)
            if operation == ADD:
                add_loop(features, source, shift(scratch, other + (first_row + row) * other_row), out)
            else:
                copy_loop(features, source, out)


@late_kernel(lambda p: (TABLE, intp, p, p, p, intp, intp, intp, intp, p))
def operation_backward(
    layers: Array, layer: int, parameter: Pointer, scalars: Pointer, scratch: Pointer, steps: int, before: int,
    first_row: int, rows: int, grad_x: Pointer,
) -> None:  # fmt: skip
    """Write the gradient of the inputs for that of the outputs, in the same rows as ``operation_forward``."""
    operation, features = layers[layer, OPERATION], layers[layer, OUT]
    x_row, y_row = layers[layer, X_ROW], layers[layer, Y_ROW]
    g = shift(scratch, layers[layer, G] + first_row * y_row)
    if operation == LAYER_NORM:
        weight = layers[layer, WEIGHT]
        layer_norm_backward_rows(
            rows, features, g, y_row, 1 if weight >= 0 else 0, shift(parameter, max(weight, 0)),
            shift(scratch, layers[layer, SAVED] + first_row * y_row),
            shift(scratch, layers[layer, SAVED_ROW] + first_row), grad_x, x_row,
        )  # fmt: skip
    elif operation == BATCH_NORM:
        weight = layers[layer, WEIGHT]
        batch_norm_backward_rows(
            rows, features, g, y_row, 1 if weight >= 0 else 0, shift(parameter, max(weight, 0)),
            shift(scratch, layers[layer, SAVED] + first_row * y_row), shift(scratch, layers[layer, SAVED_ROW]),
            layers[layer, TAKES_BATCH] != 0, grad_x, x_row,
        )  # fmt: skip
    elif operation == SOFTMAX:
        y = shift(scratch, layers[layer, Y] + first_row * y_row)
        softmax_backward_rows(rows, features, g, y, y_row, grad_x, x_row)
    elif operation == LOG_SOFTMAX:
        y = shift(scratch, layers[layer, Y] + first_row * y_row)
        log_softmax_backward_rows(rows, features, g, y, y_row, grad_x, x_row)
    elif operation == PRELU:
        x, slopes = shift(scratch, layers[layer, X] + first_row * x_row), shift(parameter, layers[layer, WEIGHT])
        each = 1 if scalars[layer * SCALARS + OPERATION_SCALARS] > 0 else 0
        prelu_rows(rows, features, slopes, each, g, y_row, x, x_row, grad_x, x_row)
    elif operation == DROPOUT:
        dropout_rows(
            rows, features, g, y_row, layers[layer, SEED], layers[layer, FORWARDS] + steps, before + first_row,
            layers[layer, THRESHOLD], scalars[layer * SCALARS + OPERATION_SCALARS], 0.0, 0.0, grad_x, x_row,
        )  # fmt: skip
    else:
        for row in range(rows):
            copy_loop(features, shift(g, row * y_row), shift(grad_x, row * x_row))


@late_kernel(lambda p: (TABLE, intp, p, intp, intp, intp, p))
def add_other_gradient(
    layers: Array, layer: int, scratch: Pointer, features: int, first_row: int, rows: int, grad_x: Pointer
) -> None:
    """Add what an ADD behind sends back to the inputs of this row, which it took too."""
    x_row, other_row = layers[layer, X_ROW], layers[layer, ADDED_G_ROW]
    other = shift(scratch, layers[layer, ADDED_G] + first_row * other_row)
    for row in range(rows):
        own = shift(grad_x, row * x_row)
        add_loop(features, own, shift(other, row * other_row), own)


@late_kernel(lambda p: (TABLE, intp, p, p, p, intp, p, intp, intp, intp))
def operation_gradients(
    layers: Array, layer: int, scalars: Pointer, scratch: Pointer, x: Pointer, x_row: int, grad: Pointer, rows: int,
    rank: int, ranks: int,
) -> None:  # fmt: skip
    """Add the gradients of this rank's range of weight and bias over ``rows`` rows of ``x``, where they are trained."""
    if layers[layer, OPERATION] == PRELU:
        _slope_gradients(layers, layer, scalars, scratch, x, x_row, grad, rows, rank, ranks)
        return
    y_row = layers[layer, Y_ROW]
    first, stop = rank_range(layers[layer, OUT], SLAB, rank, ranks)
    g = shift(scratch, layers[layer, G] + first)
    trained = layers[layer, TRAINED]
    if layers[layer, OPERATION] == SPARSE_LINEAR:
        if trained & TRAINED_WEIGHT:
            i, memory = layers[layer, IN], layers[layer, SAVED] + rank * layers[layer, SAVED_ROW]
            own_first, own_stop = rank_range(layers[layer, OUT], 1, rank, ranks)
            add_sparse_weight_gradient(
                pointer_at(x, layers[layer, VALUES_AT]), int32_at(layers[layer, COLUMNS_AT]),
                int64_at(layers[layer, STARTS_AT]), x, x_row, rows, i, shift(scratch, layers[layer, G]), y_row,
                own_first, own_stop, shift(grad, layers[layer, WEIGHT]), shift(scratch, memory),
            )  # fmt: skip
    elif trained & TRAINED_WEIGHT:
        normalized = shift(scratch, layers[layer, SAVED] + first)
        weight_grad = shift(grad, layers[layer, WEIGHT] + first)
        add_column_product_sums(rows, stop - first, g, normalized, y_row, weight_grad)
    if trained & TRAINED_BIAS:
        add_column_sums(rows, stop - first, g, y_row, shift(grad, layers[layer, BIAS] + first))


@inner_kernel
def _slope_gradients(
    layers: Array, layer: int, scalars: Pointer, scratch: Pointer, x: Pointer, x_row: int, grad: Pointer, rows: int,
    rank: int, ranks: int,
) -> None:  # fmt: skip
    """Add the gradients of this rank's slopes, where they are trained; that of a single one is rank 0's."""
    each = scalars[layer * SCALARS + OPERATION_SCALARS] > 0
    first, stop = 0, 0
    if each:
        first, stop = rank_range(layers[layer, OUT], SLAB, rank, ranks)
    elif rank == 0:
        stop = layers[layer, OUT]
    if layers[layer, TRAINED] and first < stop:
        add_slope_gradients(
            rows, stop - first, each, shift(scratch, layers[layer, G] + first), layers[layer, Y_ROW],
            shift(x, first), x_row, shift(scratch, layers[layer, SAVED] + first),
            shift(scratch, layers[layer, SAVED_ROW]), shift(grad, layers[layer, WEIGHT] + first),
        )  # fmt: skip

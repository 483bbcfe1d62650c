"""The engine's passes over rows of a block in scratch, layer by layer: forward, loss, backward, gradients.

All of them read the network from the table ``layers``; ``scratch`` is laid out as ``train`` draws it.
"""

from __future__ import annotations

import numpy

from fastbp_kernels.compiler.callbacks import call_derivative, call_value
from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.elementwise import copy_loop, multiply_loop
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, shift
from fastbp_kernels.functions.activations import (
    IDENTITY,
    KEEPS_DERIVATIVE,
    OWN,
    activate,
    activate_and_differentiate,
    times_derivative,
)
from fastbp_kernels.functions.losses.kernels import SLAB, LossCall, loss_slab_with_gradient
from fastbp_kernels.layers.call import LayerCall
from fastbp_kernels.layers.registry import LINEAR
from fastbp_kernels.layers.residual import add_other_gradient
from fastbp_kernels.layers.table import (
    ACTIVATION,
    ACTIVATION_SCALARS,
    ADDED_G,
    BIAS,
    DERIVATIVE_AT,
    IN,
    KIND,
    OPERATION,
    OPERATION_SCALARS,
    OUT,
    SCALARS,
    TRAINED,
    TRAINED_BIAS,
    TRAINED_WEIGHT,
    VALUE_AT,
    WEIGHT,
    X_ROW,
    Y_ROW,
    G,
    X,
    Y,
    Z,
)
from fastbp_kernels.linalg.column_sums import add_column_sums, fused_sgd_column_sums
from fastbp_kernels.linalg.product import ROOMY_ROWS, ROWS, TRANSPOSED, product, transposed_product
from fastbp_kernels.linalg.tile import ADD, DERIVATIVE_EPILOGUES, FUSED_SGD, STORE, VALUE_EPILOGUES
from fastbp_kernels.network.arguments import Block
from fastbp_kernels.network.operations import layer_backward, layer_forward
from fastbp_kernels.parallel.partition import rank_range


@inner_kernel
def gather(
    scratch: Pointer, place: int, place_row: int, source: Array, order: Array, epoch: int, block: int, first_row: int,
    stop_row: int,
) -> None:  # fmt: skip
    """Copy rows of ``source`` into scratch: those at ``block + first_row`` and behind it in the epoch's order."""
    features = source.shape[1]
    for row in range(first_row, stop_row):
        taken = shift(pointer(source), order[epoch, block + row] * features)
        copy_loop(features, taken, shift(scratch, place + row * place_row))


@inner_kernel
def activate_layer(
    layers: Array, layer: int, scalars: Pointer, count: int, x: Pointer, out: Pointer, trains: bool
) -> None:
    """Write the activation of one layer of ``count`` numbers of ``x`` to ``out``.

    If it ``trains``, ``x`` is left with what the backward pass takes; else ``out`` may be ``x``.
    """
    activation, own = layers[layer, ACTIVATION], shift(scalars, layer * SCALARS + ACTIVATION_SCALARS)
    if activation == OWN:
        call_value(layers[layer, VALUE_AT], count, x, out)
    elif trains and KEEPS_DERIVATIVE[activation]:
        activate_and_differentiate(activation, count, x, out, x, own)
    else:
        activate(activation, count, x, out, own)


@inner_kernel
def times_layer_derivative(
    layers: Array, layer: int, scalars: Pointer, count: int, grad: Pointer, saved: Pointer, out: Pointer
) -> None:
    """Write ``count`` numbers of ``grad`` times the derivative of one layer's activation to ``out``."""
    activation = layers[layer, ACTIVATION]
    if activation == OWN:
        call_derivative(layers[layer, DERIVATIVE_AT], count, grad, saved, out)
    elif KEEPS_DERIVATIVE[activation]:
        multiply_loop(count, grad, saved, out)
    else:
        own = shift(scalars, layer * SCALARS + ACTIVATION_SCALARS)
        times_derivative(activation, count, grad, saved, out, own)


@inner_kernel
def forward_layer(
    layers: Array, layer: int, parameter: Pointer, scalars: Pointer, rows: int, x: Pointer, x_row: int, z: Pointer,
    y: Pointer, y_row: int, trains: bool,
) -> None:  # fmt: skip
    """Compute the outputs ``y`` of one layer for ``rows`` rows of ``x``.

    If it ``trains``, what the backward pass of its activation takes is left at ``z``; that is ``y`` where it is the
    outputs.
    """
    linear_outputs(layers, layer, parameter, rows, x, x_row, z, y_row, 0, layers[layer, OUT])
    activation = layers[layer, ACTIVATION]
    if VALUE_EPILOGUES[activation] == STORE and activation != IDENTITY:
        activate_layer(layers, layer, scalars, rows * y_row, z, y, trains)


@inner_kernel
def linear_outputs(
    layers: Array, layer: int, parameter: Pointer, rows: int, x: Pointer, x_row: int, z: Pointer, y_row: int,
    first: int, stop: int,
) -> None:  # fmt: skip
    """Write the outputs from ``first`` to ``stop`` of a linear layer, with its activation where the tile applies it."""
    i, bias, epilogue = layers[layer, IN], layers[layer, BIAS], VALUE_EPILOGUES[layers[layer, ACTIVATION]]
    weight, out = shift(parameter, layers[layer, WEIGHT] + first * i), shift(z, first)
    product(
        rows, stop - first, i, x, x_row, 1, weight, i, TRANSPOSED, bias >= 0, shift(parameter, max(bias, 0) + first),
        out, y_row, epilogue, out, y_row, 0.0,
    )  # fmt: skip


@inner_kernel
def saved_for(layers: Array, layer: int, scratch: Pointer, first_row: int) -> Pointer:
    """Return what the backward pass of a layer's activation takes: the rows from ``first_row`` on."""
    place = layers[layer, Z] if layers[layer, Z] >= 0 else layers[layer, Y]
    saved: Pointer = shift(scratch, place + first_row * layers[layer, Y_ROW])
    return saved


@inner_kernel
def call_of(
    layer: int, parameter: Pointer, scalars: Pointer, scratch: Pointer, steps: int, before: int, first_row: int,
    rows: int,
) -> LayerCall:  # fmt: skip
    """Return what a layer's kernels are called with; ``scalars`` are those of all layers."""
    own = shift(scalars, layer * SCALARS + OPERATION_SCALARS)
    return LayerCall(parameter, own, scratch, steps, before, first_row, rows)


@inner_kernel
def forward_rows(
    layers: Array, parameter: Pointer, scalars: Pointer, scratch: Pointer, x: Pointer, x_row: int, first_row: int,
    stop_row: int, steps: int, before: int,
) -> None:  # fmt: skip
    """Run all layers over some rows of the block whose inputs are the rows of ``x``.

    ``steps`` and ``before`` are those of the ``Block``; ``steps`` is -1 where nothing is trained.
    """
    rows, x = stop_row - first_row, shift(x, first_row * x_row)
    for layer in range(layers.shape[0]):
        y_row = layers[layer, Y_ROW]
        y, z = shift(scratch, layers[layer, Y] + first_row * y_row), saved_for(layers, layer, scratch, first_row)
        if layers[layer, OPERATION] == LINEAR:
            forward_layer(layers, layer, parameter, scalars, rows, x, x_row, z, y, y_row, steps >= 0)
        else:
            call = call_of(layer, parameter, scalars, scratch, steps, before, first_row, rows)
            layer_forward(layers[layer, OPERATION], layers, layer, call, x, x_row, z)
            if layers[layer, ACTIVATION] != IDENTITY:
                activate_layer(layers, layer, scalars, rows * y_row, z, y, steps >= 0)
        x, x_row = y, y_row


@inner_kernel
def predict_layer(
    layers: Array, layer: int, parameter: Pointer, scalars: Pointer, scratch: Pointer, rows: int, x: Pointer,
    x_row: int, y: Pointer, y_row: int,
) -> None:  # fmt: skip
    """Compute the outputs ``y`` of one layer for ``rows`` rows of ``x``, where no backward follows."""
    if layers[layer, OPERATION] == LINEAR:
        forward_layer(layers, layer, parameter, scalars, rows, x, x_row, y, y, y_row, False)
    else:
        call = call_of(layer, parameter, scalars, scratch, -1, 0, 0, rows)
        layer_forward(layers[layer, OPERATION], layers, layer, call, x, x_row, y)
        if layers[layer, ACTIVATION] != IDENTITY:
            activate_layer(layers, layer, scalars, rows * y_row, y, y, False)


@inner_kernel
def loss_rows(
    loss: LossCall, is_weighted: bool, layers: Array, scalars: Pointer, block: Block, target: Pointer, classes: Pointer,
    weights: Pointer, factor: float, first_row: int, stop_row: int,
) -> None:  # fmt: skip
    """Write the loss's gradient to the last layer's G, which may be ``target``, and note the loss of each slab of rows.

    ``target``, ``classes`` and ``weights`` are those of the block's rows. The rows of the last layer and of ``target``
    have no gaps, so that a slab is one run of numbers.
    """
    last = layers.shape[0] - 1
    o = layers[last, OUT]
    y, g = shift(block.scratch, layers[last, Y]), shift(block.scratch, layers[last, G])
    for row in range(first_row, stop_row, SLAB):
        grad, rows = shift(g, row * o), min(SLAB, stop_row - row)
        block.slab_sums[row // SLAB] = loss_slab_with_gradient(
            loss, is_weighted, rows, o, shift(y, row * o), shift(target, row * o), shift(classes, row),
            shift(weights, row), factor, grad,
        )  # fmt: skip
        if layers[last, ACTIVATION] != IDENTITY:
            saved = saved_for(layers, last, block.scratch, row)
            times_layer_derivative(layers, last, scalars, rows * o, grad, saved, grad)


@inner_kernel
def backward_rows(
    layers: Array, layer: int, parameter: Pointer, scalars: Pointer, scratch: Pointer, first_row: int, stop_row: int,
    steps: int, before: int,
) -> None:  # fmt: skip
    """Carry the gradient from one layer's G to that of the layer before it, for some rows of the block."""
    if layer == 0:
        return
    if layers[layer, OPERATION] == LINEAR:
        linear_input_gradients(layers, layer, parameter, scratch, first_row, stop_row, 0, layers[layer, IN])
    else:
        call = call_of(layer, parameter, scalars, scratch, steps, before, first_row, stop_row - first_row)
        grad_x = shift(scratch, layers[layer - 1, G] + first_row * layers[layer, X_ROW])
        layer_backward(layers[layer, OPERATION], layers, layer, call, grad_x)
    if not ends_with_product(layers, layer):
        call = call_of(layer, parameter, scalars, scratch, steps, before, first_row, stop_row - first_row)
        finish_backward(layers, layer, scalars, call)


@inner_kernel
def linear_input_gradients(
    layers: Array, layer: int, parameter: Pointer, scratch: Pointer, first_row: int, stop_row: int, first: int,
    stop: int,
) -> None:  # fmt: skip
    """Write the gradients of a linear layer's inputs from ``first`` to ``stop``, for some rows of the block.

    They are those of the layer before it where that ``ends_with_product``.
    """
    i, o, g_row, x_row = layers[layer, IN], layers[layer, OUT], layers[layer, Y_ROW], layers[layer, X_ROW]
    ends, place = layers[layer, ADDED_G] < 0, first_row * x_row + first
    epilogue = DERIVATIVE_EPILOGUES[layers[layer - 1, ACTIVATION]] if ends else STORE
    g, x = shift(scratch, layers[layer, G] + first_row * g_row), shift(scratch, layers[layer, X] + place)
    weight, grad_x = shift(parameter, layers[layer, WEIGHT] + first), shift(scratch, layers[layer - 1, G] + place)
    product(
        stop_row - first_row, stop - first, o, g, g_row, 1, weight, i, layers[layer, KIND], False, weight, grad_x,
        x_row, epilogue, x, x_row, 0.0,
    )  # fmt: skip


@inner_kernel
def ends_with_product(layers: Array, layer: int) -> bool:
    """Return whether the product of a layer's backward leaves nothing for ``finish_backward``."""
    if layers[layer, ADDED_G] >= 0:
        return False
    activation = layers[layer - 1, ACTIVATION]
    in_tile: bool = layers[layer, OPERATION] == LINEAR and DERIVATIVE_EPILOGUES[activation] != STORE
    return in_tile or bool(activation == IDENTITY)


@inner_kernel
def finish_backward(layers: Array, layer: int, scalars: Pointer, call: LayerCall) -> None:
    """Add another gradient to that of a layer's inputs, for the call's rows, and carry it through the activation."""
    scratch, place = call.scratch, call.first_row * layers[layer, X_ROW]
    grad_x, activation = shift(scratch, layers[layer - 1, G] + place), layers[layer - 1, ACTIVATION]
    if layers[layer, ADDED_G] >= 0:
        add_other_gradient(layers, layer, call, grad_x)
    if activation != IDENTITY:
        saved = saved_for(layers, layer - 1, scratch, call.first_row)
        count = call.rows * layers[layer, X_ROW]
        times_layer_derivative(layers, layer - 1, scalars, count, grad_x, saved, grad_x)


@inner_kernel
def first_trained(layers: Array) -> int:
    """Return the first layer with a parameter that needs a gradient; the number of layers if there is none."""
    layer = 0
    while layer < layers.shape[0] and not layers[layer, TRAINED]:
        layer += 1
    return layer


@inner_kernel
def layer_gradients(
    layers: Array, layer: int, x: Pointer, x_row: int, x_kind: int, g: Pointer, grad: Pointer, rows: int, rank: int,
    ranks: int,
) -> None:  # fmt: skip
    """Add the gradients of this rank's range of one layer's trained parameters over ``rows`` rows of ``x`` and ``g``.

    ``x_kind`` is how ``product`` may read ``x``: ROOMY_ROWS or ROWS.
    """
    trained = layers[layer, TRAINED]
    if trained & TRAINED_WEIGHT:
        _weight_product(layers, layer, x, x_row, x_kind, g, grad, rows, rank, ranks, ADD, 0.0)
    if trained & TRAINED_BIAS:
        first, stop = rank_range(layers[layer, OUT], SLAB, rank, ranks)
        bias_grad = shift(grad, layers[layer, BIAS] + first)
        add_column_sums(rows, stop - first, shift(g, first), layers[layer, Y_ROW], bias_grad)


@inner_kernel
def fused_sgd_gradients(
    layers: Array, layer: int, x: Pointer, x_row: int, x_kind: int, g: Pointer, parameter: Pointer, rows: int,
    lr: float, rank: int, ranks: int,
) -> None:  # fmt: skip
    """Step this rank's range of one layer's weight and bias against their gradients over up to ``K_BLOCK`` rows.

    The gradients are kept nowhere: that spares large networks half of their way through memory.
    """
    _weight_product(layers, layer, x, x_row, x_kind, g, parameter, rows, rank, ranks, FUSED_SGD, numpy.float64(lr))
    if layers[layer, BIAS] >= 0:
        first, stop = rank_range(layers[layer, OUT], SLAB, rank, ranks)
        bias = shift(parameter, layers[layer, BIAS] + first)
        fused_sgd_column_sums(rows, stop - first, shift(g, first), layers[layer, Y_ROW], lr, bias)


@inner_kernel
def _weight_product(
    layers: Array, layer: int, x: Pointer, x_row: int, x_kind: int, g: Pointer, to: Pointer, rows: int, rank: int,
    ranks: int, epilogue: int, lr: float,
) -> None:  # fmt: skip
    """Compute ``g.T @ x`` for this rank's outputs into the weight's place in ``to``."""
    i, o, g_row = layers[layer, IN], layers[layer, OUT], layers[layer, Y_ROW]
    first, stop = rank_range(o, 1, rank, ranks)
    weight = shift(to, layers[layer, WEIGHT] + first * i)
    g_kind = ROOMY_ROWS if first == 0 and g_row > o else ROWS  # the padding serves whole rows only
    transposed_product(stop - first, i, rows, shift(g, first), g_row, g_kind, x, x_row, x_kind, weight, epilogue, lr)

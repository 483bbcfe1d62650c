"""Forward, loss and backward of one block of training rows."""

from __future__ import annotations

from fastbp_kernels.compiler.decorators import inlined_kernel
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, shift
from fastbp_kernels.functions.losses.kernels import SLAB, LossCall
from fastbp_kernels.layers.registry import LINEAR
from fastbp_kernels.layers.table import OPERATION, OUT, X_ROW, Y_ROW, G, X
from fastbp_kernels.linalg.product import ROOMY_ROWS, ROWS
from fastbp_kernels.network.arguments import Batches, Block, Network
from fastbp_kernels.network.layer_by_layer import backward_layer_by_layer, forward_layer_by_layer
from fastbp_kernels.network.operations import layer_parameter_gradients
from fastbp_kernels.network.passes import (
    backward_rows,
    call_of,
    first_trained,
    forward_rows,
    fused_sgd_gradients,
    gather,
    layer_gradients,
    loss_rows,
)
from fastbp_kernels.parallel.barrier import barrier
from fastbp_kernels.parallel.partition import rank_range


@inlined_kernel
def block_gradients(
    rank: int, ranks: int, network: Network, data: Batches, block: Block, loss: LossCall, factor: float, lr: float,
    fuses_update: bool, by_layers: bool, wait: Pointer,
) -> None:  # fmt: skip
    """Add the gradients of the block's rows to its ``grad`` and note the loss of each slab of them.

    Where it ``fuses_update``, the parameters are stepped by ``lr`` instead, and the gradients are kept nowhere.
    """
    layers, parameter, scratch = network.layers, pointer(network.parameter), block.scratch
    scalars, steps, before = pointer(network.scalars), block.steps, block.before
    last, earliest = layers.shape[0] - 1, first_trained(layers)  # nobody needs the gradients before that
    first_row, stop_row = rank_range(block.rows, SLAB, rank, ranks)
    _propagate(rank, ranks, network, data, block, loss, factor, by_layers, wait)
    # A layer's inputs make room for gradients as soon as its own are there.
    in_turn = ranks == 1 and not fuses_update and not by_layers
    if by_layers:
        backward_layer_by_layer(
            rank, ranks, layers, parameter, scalars, scratch, earliest, block.rows, steps, before, wait
        )
    elif not in_turn:
        for layer in range(last, earliest, -1):
            backward_rows(layers, layer, parameter, scalars, scratch, first_row, stop_row, steps, before)
        barrier(ranks, wait)
    for layer in range(last, earliest - 1, -1):
        x, x_row, x_kind = _inputs(layers, layer, scratch, data, block.start)
        g = shift(scratch, layers[layer, G])
        if layers[layer, OPERATION] != LINEAR:
            call = call_of(layer, parameter, scalars, scratch, steps, before, 0, block.rows)
            layer_parameter_gradients(layers[layer, OPERATION], layers, layer, call, x, x_row, block.grad, rank, ranks)
        elif fuses_update:
            fused_sgd_gradients(layers, layer, x, x_row, x_kind, g, parameter, block.rows, lr, rank, ranks)
        else:
            layer_gradients(layers, layer, x, x_row, x_kind, g, block.grad, block.rows, rank, ranks)
        if in_turn and layer > earliest:
            backward_rows(layers, layer, parameter, scalars, scratch, first_row, stop_row, steps, before)


@inlined_kernel
def _propagate(
    rank: int, ranks: int, network: Network, data: Batches, block: Block, loss: LossCall, factor: float,
    by_layers: bool, wait: Pointer,
) -> None:  # fmt: skip
    """Run forward and loss of this rank's rows of the block: their gradient is then in the last layer's G."""
    first_row, stop_row = rank_range(block.rows, SLAB, rank, ranks)
    layers, scratch, order = network.layers, block.scratch, data.order
    last = layers.shape[0] - 1
    target = shift(pointer(data.rows.target), block.start * layers[last, OUT])
    classes, weights = shift(pointer(data.rows.classes), block.start), shift(pointer(data.rows.weights), block.start)
    is_weighted = data.rows.weights.size > 0
    if order.size:
        place, place_row = layers[0, X], layers[0, X_ROW]
        gather(scratch, place, place_row, data.rows.input, order, block.epoch, block.start, first_row, stop_row)
        if is_weighted:
            weights = block.weights
            for row in range(first_row, stop_row):
                weights[row] = data.rows.weights[order[block.epoch, block.start + row]]
        if loss.takes_classes:
            classes = block.classes
            for row in range(first_row, stop_row):
                classes[row] = data.rows.classes[order[block.epoch, block.start + row]]
        else:
            target = shift(scratch, layers[last, G])
            place, place_row = layers[last, G], layers[last, Y_ROW]
            gather(scratch, place, place_row, data.rows.target, order, block.epoch, block.start, first_row, stop_row)
    x, x_row, _ = _inputs(layers, 0, scratch, data, block.start)
    parameter, scalars = pointer(network.parameter), pointer(network.scalars)
    if by_layers:
        if order.size:
            barrier(ranks, wait)
        forward_layer_by_layer(
            rank, ranks, layers, parameter, scalars, scratch, x, x_row, block.rows, block.steps, block.before, wait
        )
    else:
        forward_rows(
            layers, parameter, scalars, scratch, x, x_row, first_row, stop_row, block.steps, block.before
        )  # fmt: skip
    loss_rows(loss, is_weighted, layers, scalars, block, target, classes, weights, factor, first_row, stop_row)


@inlined_kernel
def _inputs(layers: Array, layer: int, scratch: Pointer, data: Batches, start: int) -> tuple[Pointer, int, int]:
    """Return where a layer's inputs of the block at ``start`` are, the distance of their rows, and their kind of B.

    The network's are read where they lie if they are taken in their order, else gathered in scratch.
    """
    if layer == 0 and not data.order.size:
        return shift(pointer(data.rows.input), start * data.rows.input.shape[1]), data.rows.input.shape[1], ROWS
    return shift(scratch, layers[layer, X]), layers[layer, X_ROW], ROOMY_ROWS

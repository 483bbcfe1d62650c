"""Forward, backward and training of a whole network in one compiled call.

The engine reads the network from a table, ``layers``, with a row a layer (a ``Linear`` and the activation behind it) and the
columns below, so that one compiled version serves every network. Rows of data go through it in blocks that stay in cache:

    scratch:   | X: inputs | Y, G of layer 0 | Y, G of layer 1 | ...        (block_rows rows each)

Y holds a layer's outputs, G the gradient with respect to what its activation took. One thread alone may be given a table
in which G is Y in all layers but the last: it needs a layer's inputs no more once the gradients have replaced them. Every row starts at a
cache line and is padded up to the next, so that all of them serve as operands of the tile without a copy.

Several threads may run the same call side by side, each with its own ``rank``. Each number is computed in the same way by
whoever computes it, in one of two divisions of labour:

    by rows and outputs    all ranks work on one block: each takes some of its rows in forward and backward, then some of the
                           outputs in the gradients. For large layers.
    by stretches           each rank takes ``K_BLOCK`` rows to itself, in scratch of its own, up to their gradients in ``partial``;
                           these are then added in the order of the rows. For few parameters and many rows.
"""

from __future__ import annotations

from fastbp_kernels.activations import (
    relu_derivative_loop,
    sigmoid_derivative_loop,
    sigmoid_loop,
    tanh_derivative_loop,
    tanh_loop,
)
from fastbp_kernels.barrier import barrier
from fastbp_kernels.cache import inner_kernel, kernel
from fastbp_kernels.elementwise import add_loop, copy_loop
from fastbp_kernels.linear import share
from fastbp_kernels.losses import SLAB, mse_slab, mse_slab_with_gradient
from fastbp_kernels.optimizers import sgd_loop
from fastbp_kernels.pointers import pointer, shift
from fastbp_kernels.product import K_BLOCK, PADDED_ROWS, ROWS, TRANSPOSED, product
from fastbp_kernels.sums import add_column_sums
from fastbp_kernels.tile import (
    ADD,
    RELU,
    RELU_DERIVATIVE,
    SIGMOID_DERIVATIVE,
    STORE,
    TANH_DERIVATIVE,
)

# Columns of ``layers``: features in and out; offsets of weight and bias in the parameters (bias -1: none); activation;
# offsets of inputs, outputs and gradient in scratch, and the distance between rows of the inputs and of the other two.
IN, OUT, WEIGHT, BIAS, ACTIVATION, X, X_ROW, Y, G, Y_ROW = range(10)
COLUMNS = 10

# Activations.
IDENTITY, RECTIFIED, TANH, SIGMOID = range(4)

BLOCK_ROWS = 2 * K_BLOCK  # a multiple of K_BLOCK, so that gradients are summed in the same stretches as over whole batches


@kernel
def predict(rank, ranks, layers, parameter, scratch, block_rows, input, output):
    """Write the network's output for every row of ``input``.

    Parameters
    ----------
    rank, ranks : int
        This thread and the number of threads; each uses its own part of the scratch memory.
    layers : array of int64, shape (layers, COLUMNS), read
    parameter : vector, read
    scratch : vector, written
    block_rows : int
        Rows for which ``layers`` was laid out in scratch.
    input : array of shape (n, IN of the first layer), read
    output : array of shape (n, OUT of the last layer), written
    """
    last = layers.shape[0] - 1
    p, s = pointer(parameter), shift(pointer(scratch), rank * (scratch.size // ranks))
    i, o = input.shape[1], output.shape[1]
    first, stop = share(input.shape[0], SLAB, rank, ranks)
    for row in range(first, stop, block_rows):
        rows = min(block_rows, stop - row)
        x, x_row = shift(pointer(input), row * i), i
        for layer in range(last):
            y, y_row = shift(s, layers[layer, Y]), layers[layer, Y_ROW]
            _layer_forward(layers, layer, p, rows, x, x_row, y, y_row)
            x, x_row = y, y_row
        _layer_forward(layers, last, p, rows, x, x_row, shift(pointer(output), row * o), o)


@kernel
def train(
    rank, ranks, sync, layers, parameter, grad, partial, scratch, block_rows, slab_sums, input, target, order,
    mini_batch_size, mean, lr, val_input, val_target, first, stop, batch_sums, val_sums, val_hits,
):  # fmt: skip
    """Train and validate from the ``first`` unit of work up to ``stop``.

    An epoch is one unit for each mini-batch, in order, then one for each block of validation rows. A call may start and
    stop at any unit; calls that follow one another give the same bits as one call.

    Parameters
    ----------
    rank, ranks : int
        This thread and the number of threads.
    sync : array of int64, shape (SYNC_SIZE,)
        The threads' barrier, zeros at first.
    layers : array of int64, shape (layers, COLUMNS), read
    parameter, grad : vectors, read and written
        ``grad`` is left with the gradient of the last mini-batch.
    partial : vector, written
        ``ranks`` times the parameters, for division by stretches; empty for division by rows and outputs.
    scratch : vector, written; zeros at first
        For division by stretches ``ranks`` times what ``layers`` was laid out for.
    block_rows : int
        Rows for which ``layers`` was laid out in scratch: a multiple of ``K_BLOCK``, or ``mini_batch_size`` or more.
        For division by stretches ``K_BLOCK``.
    slab_sums : vector of float64, written
        One for each ``SLAB`` rows of as many blocks as scratch holds.
    input, target : arrays of shape (n, IN of the first layer) and (n, OUT of the last layer), read
    order : array of int64, shape (epochs, n) or (0, 0), read
        The rows of each epoch that the call touches, in order; without it the rows are taken as they stand.
    mini_batch_size : int
    mean : bool
        Whether the loss is a mean over the elements of a mini-batch instead of a sum.
    lr : scalar of the parameters' dtype
    val_input, val_target : arrays of shapes like input and target, with any number of rows, read
    first, stop : int
        Units, counted from the start of the first epoch that the call touches.
    batch_sums : array of float64, shape (epochs, mini-batches), written
        The sum of the squared differences of each mini-batch before its update.
    val_sums : vector of float64, (epochs,); val_hits : vector of int64, (epochs,)
        The sum of the squared differences of the validation rows, and the number of rows whose largest output stands where
        the target is 1. Added to, for the blocks that the call works on.
    """
    n, val_n = input.shape[0], val_input.shape[0]
    batches = (n + mini_batch_size - 1) // mini_batch_size
    units = batches + (val_n + block_rows - 1) // block_rows
    for unit in range(first, stop):
        epoch, step = unit // units, unit % units
        if step < batches:
            start = step * mini_batch_size
            total = _train_batch(
                rank, ranks, sync, layers, parameter, grad, partial, scratch, block_rows, slab_sums, input, target, order,
                epoch, start, min(start + mini_batch_size, n), mean, lr,
            )  # fmt: skip
            if rank == 0:
                batch_sums[epoch, step] = total
        else:
            start = (step - batches) * block_rows
            _evaluate_block(
                rank, ranks, sync, layers, parameter, scratch, slab_sums, val_input, val_target, start,
                min(start + block_rows, val_n), val_sums, val_hits, epoch,
            )  # fmt: skip


@inner_kernel
def _train_batch(
    rank, ranks, sync, layers, parameter, grad, partial, scratch, block_rows, slab_sums, input, target, order, epoch,
    start, stop, mean, lr,
):  # fmt: skip
    """Run forward, loss, backward and update of the rows from ``start`` to ``stop``; return the loss's sum at rank 0."""
    size = (stop - start) * target.shape[1]
    factor = parameter.dtype.type(2.0 * (1.0 / size if mean else 1.0))
    wait, p, g = pointer(sync), pointer(parameter), pointer(grad)
    own_first, own_stop = share(parameter.size, SLAB, rank, ranks)
    grad[own_first:own_stop] = 0
    total = 0.0
    by_stretches = partial.size > 0
    for group in range(start, stop, block_rows * (ranks if by_stretches else 1)):
        if by_stretches:
            block = min(group + rank * block_rows, stop)
            s = shift(pointer(scratch), rank * (scratch.size // ranks))
            own = shift(pointer(partial), rank * parameter.size)
            partial[rank * parameter.size : (rank + 1) * parameter.size] = 0
            slabs = slab_sums[rank * block_rows // SLAB :]
            rows = min(block_rows, stop - block)
            _gradients(layers, p, own, s, slabs, input, target, order, epoch, block, rows, factor, 0, 1, wait)
            end = min(group + block_rows * ranks, stop)
            barrier(ranks, wait)
            for other in range((end - group + block_rows - 1) // block_rows):
                add_loop(
                    own_stop - own_first, shift(pointer(partial), other * parameter.size + own_first),
                    shift(g, own_first), shift(g, own_first),
                )  # fmt: skip
        else:
            end = min(group + block_rows, stop)
            _gradients(
                layers, p, g, pointer(scratch), slab_sums, input, target, order, epoch, group, end - group, factor, rank,
                ranks, wait,
            )  # fmt: skip
        if rank == 0:
            for slab in range((end - group + SLAB - 1) // SLAB):
                total += slab_sums[slab]
        barrier(ranks, wait)
    sgd_loop(own_stop - own_first, lr, shift(p, own_first), shift(g, own_first), shift(p, own_first))
    barrier(ranks, wait)
    return total


@inner_kernel
def _gradients(
    layers, parameter, grad, scratch, slab_sums, input, target, order, epoch, block, rows, factor, rank, ranks, wait
):
    """Add the gradients of the ``rows`` rows at ``block`` to ``grad`` and note the loss of each slab of them."""
    last = layers.shape[0] - 1
    first_row, stop_row = share(rows, SLAB, rank, ranks)
    _gather(scratch, layers[0, X], layers[0, X_ROW], input, order, epoch, block, first_row, stop_row)
    _gather(scratch, layers[last, G], layers[last, Y_ROW], target, order, epoch, block, first_row, stop_row)
    _forward_rows(layers, parameter, scratch, first_row, stop_row)
    _loss_rows(layers, scratch, factor, first_row, stop_row, slab_sums)
    if ranks == 1:
        for layer in range(last, -1, -1):
            _accumulate_gradients(layers, layer, scratch, grad, rows, 0, 1)
            _backward_rows(layers, layer, parameter, scratch, 0, rows)
    else:
        for layer in range(last, 0, -1):
            _backward_rows(layers, layer, parameter, scratch, first_row, stop_row)
        barrier(ranks, wait)
        for layer in range(last, -1, -1):
            _accumulate_gradients(layers, layer, scratch, grad, rows, rank, ranks)


@inner_kernel
def _evaluate_block(
    rank, ranks, sync, layers, parameter, scratch, slab_sums, input, target, start, stop, sums, hits, epoch
):
    """Add the loss's sum and the hits of the rows from ``start`` to ``stop`` to ``sums[epoch]`` and ``hits[epoch]``."""
    last = layers.shape[0] - 1
    i, o = input.shape[1], target.shape[1]
    s, p, wait = pointer(scratch), pointer(parameter), pointer(sync)
    y_row = layers[last, Y_ROW]
    first_row, stop_row = share(stop - start, SLAB, rank, ranks)
    x, x_row = shift(pointer(input), (start + first_row) * i), i
    for layer in range(last + 1):
        y, next_row = shift(s, layers[layer, Y] + first_row * layers[layer, Y_ROW]), layers[layer, Y_ROW]
        _layer_forward(layers, layer, p, stop_row - first_row, x, x_row, y, next_row)
        x, x_row = y, next_row
    prediction = shift(s, layers[last, Y])
    expected = shift(pointer(target), start * o)
    for row in range(first_row, stop_row, SLAB):
        slab_sums[row // SLAB] = mse_slab(
            min(SLAB, stop_row - row), o, shift(prediction, row * y_row), y_row, shift(expected, row * o), o
        )
    barrier(ranks, wait)
    if rank == 0:
        for slab in range((stop - start + SLAB - 1) // SLAB):
            sums[epoch] += slab_sums[slab]
        for row in range(stop - start):
            hits[epoch] += expected[row * o + _argmax(shift(prediction, row * y_row), o)] == 1
    barrier(ranks, wait)


@inner_kernel
def _gather(scratch, place, place_row, source, order, epoch, block, first_row, stop_row):
    """Copy rows of ``source`` into scratch: those at ``block`` + first_row ... of the epoch's order."""
    features = source.shape[1]
    rows = pointer(source)
    for row in range(first_row, stop_row):
        taken = order[epoch, block + row] if order.size else block + row
        to = place + row * place_row
        copy_loop(features, shift(rows, taken * features), shift(scratch, to))


@inner_kernel
def _layer_forward(layers, layer, parameter, rows, x, x_row, y, y_row):
    """Compute the outputs ``y`` of one layer for ``rows`` rows of ``x``."""
    i, o, bias = layers[layer, IN], layers[layer, OUT], layers[layer, BIAS]
    activation = layers[layer, ACTIVATION]
    weight = shift(parameter, layers[layer, WEIGHT])
    epilogue = RELU if activation == RECTIFIED else STORE
    product(
        rows, o, i, x, x_row, 1, weight, i, TRANSPOSED, bias >= 0, shift(parameter, max(bias, 0)), y, y_row, epilogue,
        y, y_row,
    )  # fmt: skip
    if activation == TANH:
        tanh_loop(rows * y_row, y, y)
    elif activation == SIGMOID:
        sigmoid_loop(rows * y_row, y, y)


@inner_kernel
def _forward_rows(layers, parameter, scratch, first_row, stop_row):
    """Run all layers over some rows of the block in scratch."""
    for layer in range(layers.shape[0]):
        x_row, y_row = layers[layer, X_ROW], layers[layer, Y_ROW]
        x = shift(scratch, layers[layer, X] + first_row * x_row)
        y = shift(scratch, layers[layer, Y] + first_row * y_row)
        _layer_forward(layers, layer, parameter, stop_row - first_row, x, x_row, y, y_row)


@inner_kernel
def _loss_rows(layers, scratch, factor, first_row, stop_row, slab_sums):
    """Turn the targets in the last layer's G into the gradient and note the loss of each slab of rows."""
    last = layers.shape[0] - 1
    o, row_size, activation = layers[last, OUT], layers[last, Y_ROW], layers[last, ACTIVATION]
    y, g = shift(scratch, layers[last, Y]), shift(scratch, layers[last, G])
    for row in range(first_row, stop_row, SLAB):
        prediction, grad = shift(y, row * row_size), shift(g, row * row_size)
        rows = min(SLAB, stop_row - row)
        slab_sums[row // SLAB] = mse_slab_with_gradient(
            rows, o, prediction, row_size, grad, row_size, factor, grad, row_size
        )
        if activation == RECTIFIED:
            relu_derivative_loop(rows * row_size, grad, prediction, grad)
        elif activation == TANH:
            tanh_derivative_loop(rows * row_size, grad, prediction, grad)
        elif activation == SIGMOID:
            sigmoid_derivative_loop(rows * row_size, grad, prediction, grad)


@inner_kernel
def _backward_rows(layers, layer, parameter, scratch, first_row, stop_row):
    """Carry the gradient from one layer's G to that of the layer before it, for some rows of the block."""
    if layer == 0:
        return
    i, o = layers[layer, IN], layers[layer, OUT]
    g_row, x_row = layers[layer, Y_ROW], layers[layer, X_ROW]
    activation = layers[layer - 1, ACTIVATION]
    epilogue = STORE
    if activation == RECTIFIED:
        epilogue = RELU_DERIVATIVE
    elif activation == TANH:
        epilogue = TANH_DERIVATIVE
    elif activation == SIGMOID:
        epilogue = SIGMOID_DERIVATIVE
    g = shift(scratch, layers[layer, G] + first_row * g_row)
    x = shift(scratch, layers[layer, X] + first_row * x_row)
    grad_x = shift(scratch, layers[layer - 1, G] + first_row * x_row)
    weight = shift(parameter, layers[layer, WEIGHT])
    product(stop_row - first_row, i, o, g, g_row, 1, weight, i, ROWS, False, weight, grad_x, x_row, epilogue, x, x_row)


@inner_kernel
def _accumulate_gradients(layers, layer, scratch, grad, rows, rank, ranks):
    """Add the gradients of this rank's share of one layer's weight and bias over the rows of the block."""
    i, o, bias = layers[layer, IN], layers[layer, OUT], layers[layer, BIAS]
    x_row, g_row = layers[layer, X_ROW], layers[layer, Y_ROW]
    x, g = shift(scratch, layers[layer, X]), shift(scratch, layers[layer, G])
    first, stop = share(o, 1, rank, ranks)
    weight = shift(grad, layers[layer, WEIGHT] + first * i)
    product(stop - first, i, rows, shift(g, first), 1, g_row, x, x_row, PADDED_ROWS, False, x, weight, i, ADD, weight, i)
    if bias >= 0:
        first, stop = share(o, SLAB, rank, ranks)
        add_column_sums(rows, stop - first, shift(g, first), g_row, shift(grad, bias + first))


@inner_kernel
def _argmax(values, count):
    """Return the position of the largest of ``count`` values or of the first NaN, as ``numpy.argmax``."""
    best = 0
    for k in range(1, count):
        if values[best] != values[best]:
            break
        if values[k] > values[best] or values[k] != values[k]:
            best = k
    return best

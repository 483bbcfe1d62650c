"""Forward, backward and training of a whole network in one compiled call.

The engine reads the network from a table, ``layers`` (see ``table``), so that one compiled version serves every
network. Rows of data go through it in blocks that stay in cache:

    scratch:   | X: inputs | Y, G of layer 0 | Y, G of layer 1 | ...        (block_rows rows each)

X holds the inputs that were gathered in another order, and the last G the targets; what is taken in its own order is
read where it lies. Y holds a layer's outputs, which are the next layer's X, and G the gradient with respect to what its
activation took. A thread that has its scratch to itself may be given a table in which G is Y in all layers but the
last: it needs a layer's inputs no more once the gradients have replaced them. Given another, and mini-batches of one
stretch of at most ``K_BLOCK`` rows, it lets the weights follow their gradients while the tile still holds these. Rows
that are inputs of a layer start at a cache line and are padded to whole lines: they serve as operands of the tile
without a copy.

Several threads may run the same call side by side, each with its own ``rank``. Each number is computed in the same way
by whoever computes it, in one of three divisions of labour:

    by rows and outputs    All ranks work on one block: each takes some of its rows in forward and backward, then some
                           of the outputs in the gradients. For large layers.
    by stretches           Each rank takes ``K_BLOCK`` rows to itself, in scratch of its own, up to their gradients in
                           ``partial``; when that is full, they are added in the order of the rows. For few parameters
                           and many rows.
    validation beside      Rank 0 trains and leaves a copy of the parameters behind after each epoch; the others, each
                           in scratch of its own, validate it meanwhile. For small mini-batches.
"""

from __future__ import annotations

from fastbp_kernels.compiler.cache import inlined_kernel, inner_kernel, kernel
from fastbp_kernels.compiler.elementwise import add_loop, copy_loop, zero_loop
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, shift
from fastbp_kernels.functions.hits import is_hit
from fastbp_kernels.functions.losses import SLAB, mse_slab
from fastbp_kernels.functions.optimizers import sgd_loop
from fastbp_kernels.linalg.linear import share
from fastbp_kernels.linalg.product import K_BLOCK, ROOMY_ROWS, ROWS
from fastbp_kernels.network.passes import (
    backward_rows,
    descend_gradients,
    forward_layer,
    forward_rows,
    gather,
    layer_gradients,
    loss_rows,
)
from fastbp_kernels.network.table import X_ROW, Y_ROW, G, X, Y
from fastbp_kernels.parallel.barrier import SYNC_SIZE, barrier
from fastbp_kernels.parallel.work_queue import close, finish, free_place, offer, take

BLOCK_ROWS = 2 * K_BLOCK  # whole stretches, so that gradients are summed in the same ones as over whole batches


@kernel
def predict(
    rank: int, ranks: int, layers: Array, parameter: Array, scratch: Array, block_rows: int, input: Array, output: Array
) -> None:
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
            forward_layer(layers, layer, p, rows, x, x_row, y, y_row)
            x, x_row = y, y_row
        forward_layer(layers, last, p, rows, x, x_row, shift(pointer(output), row * o), o)


@kernel
def train(
    rank: int, ranks: int, sync: Array, layers: Array, parameter: Array, grad: Array, partial: Array, copies: Array,
    scratch: Array, block_rows: int, slab_sums: Array, input: Array, target: Array, order: Array, mini_batch_size: int,
    mean: bool, lr: float, val_input: Array, val_target: Array, first: int, stop: int, batch_sums: Array,
    val_sums: Array, val_hits: Array,
) -> None:  # fmt: skip
    """Train and validate from the ``first`` unit of work up to ``stop``.

    An epoch is one unit for each mini-batch, in order, then one for each block of validation rows. A call may start and
    stop at any unit; calls that follow one another give the same bits as one call.

    Parameters
    ----------
    rank, ranks : int
        This thread and the number of threads.
    sync : vector of int64, zeros at first
        ``SYNC_SIZE`` for the threads' barrier, then ``offers_size`` of the number of ``copies``.
    layers : array of int64, shape (layers, COLUMNS), read
    parameter, grad : vectors, read and written
        ``grad`` is left with the gradient of the last mini-batch.
    partial : vector, written
        A whole number of times the parameters, for division by stretches; else empty.
    copies : array of shape (any, the parameters' size or more), written
        Room for the parameters of so many epochs, for validation beside the training; else empty.
    scratch : vector, written; zeros at first
        What ``layers`` was laid out for; ``ranks`` times that, but for division by rows and outputs.
    block_rows : int
        Rows for which ``layers`` was laid out in scratch: a multiple of ``SLAB``, and of ``K_BLOCK`` where mini-batches
        are larger. For division by stretches ``K_BLOCK``.
    slab_sums : vector of float64, written
        One for each ``SLAB`` rows of as many blocks as scratch holds, or for division by stretches ``partial``.
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
        The sum of the squared differences of the validation rows, and the number of rows whose largest output stands
        where the target is 1, or whose single output is on the side of 0.5 of a target of 0 or 1. Added to, for the
        blocks that the call works on.
    """
    n, val_n = input.shape[0], val_input.shape[0]
    batches = (n + mini_batch_size - 1) // mini_batch_size
    units = batches + (val_n + block_rows - 1) // block_rows
    one_stretch = min(mini_batch_size, n) <= min(K_BLOCK, block_rows) and partial.size == 0
    descends = one_stretch and layers[0, G] != layers[0, Y]
    places = copies.shape[0]
    trainers = 1 if places else ranks
    offers = shift(pointer(sync), SYNC_SIZE)
    own_scratch, own_sums = pointer(scratch), slab_sums
    if places:
        own_scratch = shift(own_scratch, rank * (scratch.size // ranks))
        own_sums = slab_sums[rank * (slab_sums.size // ranks) :]
    epoch, step = first // units, first % units
    for unit in range(first, stop if rank < trainers else first):  # who does not train goes on to the validation
        if step < batches:
            start = step * mini_batch_size
            end = min(start + mini_batch_size, n)
            following = unit + 1 if step + 1 < batches else (epoch + 1) * units
            total = _train_batch(
                rank, trainers, sync, layers, parameter, grad, partial, scratch, block_rows, slab_sums, input, target,
                order, epoch, start, end, mean, lr, descends and following < stop,
            )  # fmt: skip
            if rank == 0:
                batch_sums[epoch, step] = total
        elif unit == first or step == batches:  # all that the call does of this epoch's validation
            place = free_place(offers, places)
            if place >= 0:
                copy_loop(parameter.size, pointer(parameter), pointer(copies[place]))
                offer(offers, place, epoch)
            else:
                _evaluate(
                    rank, trainers, sync, layers, pointer(parameter), own_scratch, block_rows, own_sums, val_input,
                    val_target, epoch, units, batches, first, stop, val_sums, val_hits,
                )  # fmt: skip
        step += 1
        if step == units:
            epoch, step = epoch + 1, 0
    if places:
        if rank == 0:
            close(offers, places)
        _evaluate_offers(
            offers, sync, layers, copies, own_scratch, block_rows, own_sums, val_input, val_target, units, batches,
            first, stop, val_sums, val_hits,
        )  # fmt: skip
        barrier(ranks, pointer(sync))


@inlined_kernel
def _train_batch(
    rank: int, ranks: int, sync: Array, layers: Array, parameter: Array, grad: Array, partial: Array, scratch: Array,
    block_rows: int, slab_sums: Array, input: Array, target: Array, order: Array, epoch: int, start: int, stop: int,
    mean: bool, lr: float, descends: bool,
) -> float:  # fmt: skip
    """Run forward, loss, backward and update of the rows from ``start`` to ``stop``; rank 0 returns the loss's sum.

    Where it ``descends``, they are one block, and the weights follow their gradients while the tile has these.
    """
    size = (stop - start) * target.shape[1]
    factor = parameter.dtype.type(2.0 * (1.0 / size if mean else 1.0))
    wait, p, g = pointer(sync), pointer(parameter), pointer(grad)
    own_first, own_stop = share(parameter.size, SLAB, rank, ranks)
    if not descends:
        zero_loop(own_stop - own_first, shift(g, own_first))
    total = 0.0
    by_stretches, partials = partial.size > 0, partial.size // parameter.size
    for group in range(start, stop, block_rows * (partials if by_stretches else 1)):
        if by_stretches:
            end = min(group + partials * block_rows, stop)
            s = shift(pointer(scratch), rank * (scratch.size // ranks))
            for block in range(group + rank * block_rows, end, ranks * block_rows):
                place = (block - group) // block_rows
                own = shift(pointer(partial), place * parameter.size)
                zero_loop(parameter.size, own)
                slabs = slab_sums[place * block_rows // SLAB :]
                rows = min(block_rows, end - block)
                _gradients(
                    layers, p, own, s, slabs, input, target, order, epoch, block, rows, factor, lr, False, 0, 1, wait
                )
            barrier(ranks, wait)
            for place in range((end - group + block_rows - 1) // block_rows):
                add_loop(
                    own_stop - own_first, shift(pointer(partial), place * parameter.size + own_first),
                    shift(g, own_first), shift(g, own_first),
                )  # fmt: skip
        else:
            end = min(group + block_rows, stop)
            _gradients(
                layers, p, g, pointer(scratch), slab_sums, input, target, order, epoch, group, end - group, factor, lr,
                descends, rank, ranks, wait,
            )  # fmt: skip
        if rank == 0:
            for slab in range((end - group + SLAB - 1) // SLAB):
                total += slab_sums[slab]
        barrier(ranks, wait)
    if not descends:
        sgd_loop(own_stop - own_first, lr, shift(p, own_first), shift(g, own_first), shift(p, own_first))
        barrier(ranks, wait)
    return total


@inlined_kernel
def _inputs(
    layers: Array, layer: int, scratch: Pointer, input: Array, order: Array, block: int
) -> tuple[Pointer, int, int]:
    """Return where a layer's inputs of the block at ``block`` are, the distance of their rows, and their kind of B.

    The network's are read where they lie if they are taken in their order, else gathered in scratch.
    """
    if layer == 0 and not order.size:
        return shift(pointer(input), block * input.shape[1]), input.shape[1], ROWS
    return shift(scratch, layers[layer, X]), layers[layer, X_ROW], ROOMY_ROWS


@inlined_kernel
def _propagate(
    layers: Array, parameter: Pointer, scratch: Pointer, slab_sums: Array, input: Array, target: Array, order: Array,
    epoch: int, block: int, first_row: int, stop_row: int, factor: float,
) -> None:  # fmt: skip
    """Run forward and loss of some rows of the block: their gradient is then in the last layer's G."""
    last = layers.shape[0] - 1
    expected = shift(pointer(target), block * target.shape[1])
    if order.size:
        gather(scratch, layers[0, X], layers[0, X_ROW], input, order, epoch, block, first_row, stop_row)
        gather(scratch, layers[last, G], layers[last, Y_ROW], target, order, epoch, block, first_row, stop_row)
        expected = shift(scratch, layers[last, G])
    x, x_row, _ = _inputs(layers, 0, scratch, input, order, block)
    forward_rows(layers, parameter, scratch, x, x_row, first_row, stop_row)
    loss_rows(layers, scratch, expected, factor, first_row, stop_row, slab_sums)


@inlined_kernel
def _gradients(
    layers: Array, parameter: Pointer, grad: Pointer, scratch: Pointer, slab_sums: Array, input: Array, target: Array,
    order: Array, epoch: int, block: int, rows: int, factor: float, lr: float, descends: bool, rank: int, ranks: int,
    wait: Pointer,
) -> None:  # fmt: skip
    """Add the gradients of the ``rows`` rows at ``block`` to ``grad`` and note the loss of each slab of them.

    Where it ``descends``, the parameters are stepped against the gradients instead, which are kept nowhere.
    """
    last = layers.shape[0] - 1
    first_row, stop_row = share(rows, SLAB, rank, ranks)
    _propagate(layers, parameter, scratch, slab_sums, input, target, order, epoch, block, first_row, stop_row, factor)
    in_turn = ranks == 1 and not descends  # a layer's inputs make room for gradients as soon as its own are computed
    if not in_turn:
        for layer in range(last, 0, -1):
            backward_rows(layers, layer, parameter, scratch, first_row, stop_row)
        barrier(ranks, wait)
    for layer in range(last, -1, -1):
        x, x_row, x_kind = _inputs(layers, layer, scratch, input, order, block)
        g = shift(scratch, layers[layer, G])
        if descends:
            descend_gradients(layers, layer, x, x_row, x_kind, g, parameter, rows, lr, rank, ranks)
        else:
            layer_gradients(layers, layer, x, x_row, x_kind, g, grad, rows, rank, ranks)
        if in_turn:
            backward_rows(layers, layer, parameter, scratch, first_row, stop_row)


@inner_kernel
def _evaluate_offers(
    offers: Pointer, sync: Array, layers: Array, copies: Array, scratch: Pointer, block_rows: int, slab_sums: Array,
    input: Array, target: Array, units: int, batches: int, first: int, stop: int, sums: Array, hits: Array,
) -> None:  # fmt: skip
    """Evaluate the copies of the parameters that rank 0 leaves behind, until no more will come."""
    while True:
        epoch, place = take(offers, copies.shape[0])
        if epoch < 0:
            break
        _evaluate(
            0, 1, sync, layers, pointer(copies[place]), scratch, block_rows, slab_sums, input, target, epoch, units,
            batches, first, stop, sums, hits,
        )  # fmt: skip
        finish(offers, place)


@inner_kernel
def _evaluate(
    rank: int, ranks: int, sync: Array, layers: Array, parameter: Pointer, scratch: Pointer, block_rows: int,
    slab_sums: Array, input: Array, target: Array, epoch: int, units: int, batches: int, first: int, stop: int,
    sums: Array, hits: Array,
) -> None:  # fmt: skip
    """Evaluate those blocks of the epoch whose units are from ``first`` up to ``stop``."""
    n, start_of_epoch = input.shape[0], epoch * units + batches
    for block in range(max(first - start_of_epoch, 0), min(stop - start_of_epoch, units - batches)):
        start = block * block_rows
        _evaluate_block(
            rank, ranks, sync, layers, parameter, scratch, slab_sums, input, target, start, min(start + block_rows, n),
            sums, hits, epoch,
        )  # fmt: skip


@inlined_kernel
def _evaluate_block(
    rank: int, ranks: int, sync: Array, layers: Array, parameter: Pointer, scratch: Pointer, slab_sums: Array,
    input: Array, target: Array, start: int, stop: int, sums: Array, hits: Array, epoch: int,
) -> None:  # fmt: skip
    """Add the loss's sum and the hits of the rows from ``start`` to ``stop`` to ``sums[epoch]`` and ``hits[epoch]``."""
    last = layers.shape[0] - 1
    i, o = input.shape[1], target.shape[1]
    wait = pointer(sync)
    first_row, stop_row = share(stop - start, SLAB, rank, ranks)
    forward_rows(layers, parameter, scratch, shift(pointer(input), start * i), i, first_row, stop_row)
    prediction = shift(scratch, layers[last, Y])
    expected = shift(pointer(target), start * o)
    for row in range(first_row, stop_row, SLAB):
        count = min(SLAB, stop_row - row) * o
        slab_sums[row // SLAB] = mse_slab(count, shift(prediction, row * o), shift(expected, row * o))
    barrier(ranks, wait)
    if rank == 0:
        for slab in range((stop - start + SLAB - 1) // SLAB):
            sums[epoch] += slab_sums[slab]
        for row in range(stop - start):
            hits[epoch] += is_hit(shift(prediction, row * o), shift(expected, row * o), o)
    barrier(ranks, wait)

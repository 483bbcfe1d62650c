"""Training of a whole network in one compiled call.

The engine reads the network from a table, ``layers`` (see ``table``), so that one compiled version serves every
network. Rows of data go through it in blocks that stay in cache:

    scratch:   | X: inputs | Z, Y, G of layer 0 | Z, Y, G of layer 1 | ...        (block_rows rows each)

X holds the inputs that were gathered in another order, and the last G the targets; what is taken in its own order is
read where it lies. Y holds a layer's outputs, which are the next layer's X, and G the gradient with respect to what its
activation took; that itself, or the derivative there, is in Z where the backward pass needs it, and else nowhere. A
thread that has its scratch to itself may be given a table in which G is Y in all layers but the last: it needs a
layer's inputs no more once the gradients have replaced them. Rows that are inputs of a layer start at a cache line and
are padded to whole lines: they serve as operands of the tile without a copy.

Several threads may run the same call side by side, each with its own ``rank``. Each number is computed in the same way
by whoever computes it, in one of four divisions of labour:

    BY_ROWS             All ranks work on one block: each takes some of its rows in forward and backward, then some of
                        the outputs in the gradients. For large layers.
    BY_LAYERS           All ranks work on one block, layer after layer: each takes some of a layer's outputs in forward
                        and some of its inputs in backward, as ``layer_by_layer`` cuts them. For fewer rows than a layer
                        is wide.
    BY_CHUNKS           Each rank takes ``K_BLOCK`` rows to itself, in scratch of its own, up to their gradients in
                        ``chunk_grads``; when that is full, they are added in the order of the rows. For few parameters
                        and many rows.
    VALIDATION_BESIDE   Rank 0 trains and leaves a snapshot of the parameters behind after each epoch; the others, each
                        in scratch of its own, validate it meanwhile. For small mini-batches.
"""

from __future__ import annotations

from math import isfinite, sqrt

from fastbp_kernels.compiler.decorators import inlined_kernel, inner_kernel, kernel
from fastbp_kernels.compiler.elementwise import add_loop, copy_loop, zero_loop
from fastbp_kernels.compiler.pointers import Pointer, pointer, shift
from fastbp_kernels.functions.gradient_clipping import (
    NORM_SLAB,
    clip_factor,
    leaves_range,
    norm_beyond_squares,
    scale_gradient,
    square_sums,
)
from fastbp_kernels.functions.losses.kernels import SLAB, LossCall, row_weight, scale_of_weights
from fastbp_kernels.functions.optimizers import update_spans
from fastbp_kernels.functions.penalty import add_penalty_gradient
from fastbp_kernels.linalg.product import K_BLOCK
from fastbp_kernels.network.arguments import (
    BY_CHUNKS,
    BY_LAYERS,
    VALIDATION_BESIDE,
    Batches,
    Block,
    Network,
    Results,
    Rows,
    Step,
    Workspace,
)
from fastbp_kernels.network.evaluate import evaluate_blocks, evaluate_snapshots, validation_blocks
from fastbp_kernels.network.gradients import block_gradients
from fastbp_kernels.parallel.barrier import SYNC_SIZE, barrier
from fastbp_kernels.parallel.partition import rank_range
from fastbp_kernels.parallel.work_queue import close, free_slot, offer

BLOCK_ROWS = 2 * K_BLOCK  # whole k_blocks, so that gradients are summed in the same ones as over whole batches


@kernel
def train(
    rank: int, ranks: int, first: int, stop: int, network: Network, data: Batches, validation: Rows,
    step: Step, workspace: Workspace, results: Results,
) -> None:  # fmt: skip
    """Train and validate from the ``first`` unit of work up to ``stop``.

    An epoch is one unit for each mini-batch, in order, then one for each block of validation rows. A call may start and
    stop at any unit; calls that follow one another give the same bits as one call.

    Parameters
    ----------
    rank, ranks : int
        This thread and the number of threads.
    first, stop : int
        Units, counted from the start of the first epoch that the call touches.
    network, data, validation, step, workspace, results
        See ``arguments``.
    """
    beside = workspace.mode == VALIDATION_BESIDE
    batches = (data.rows.input.shape[0] + data.mini_batch_size - 1) // data.mini_batch_size
    units = batches + validation_blocks(validation, workspace)
    trainers = 1 if beside else ranks
    own = _workspace_of(rank, ranks, workspace)
    queue, slots = shift(pointer(workspace.sync), SYNC_SIZE), workspace.snapshots.shape[0]
    epoch, batch, steps = first // units, first % units, 0
    for unit in range(first, stop if rank < trainers else first):  # who does not train goes on to the validation
        if batch < batches:
            following = unit + 1 if batch + 1 < batches else (epoch + 1) * units
            fuses_update = workspace.fuses_update and following < stop  # the last gradient is left behind
            loss = _train_batch(rank, trainers, network, data, step, workspace, epoch, batch, steps, fuses_update)
            if rank == 0:
                _note_loss(loss, step.loss.is_mean, data, epoch, batch, results)
            steps += 1
        elif unit == first or batch == batches:  # all that the call does of this epoch's validation
            slot = free_slot(queue, slots)
            if slot >= 0:
                copy_loop(network.parameter.size, pointer(network.parameter), pointer(workspace.snapshots[slot]))
                offer(queue, slot, epoch)
            else:
                begin = epoch * units + batches
                evaluate_blocks(
                    rank, trainers, network, step.loss, validation, own, results, epoch, first - begin, stop - begin
                )
        batch += 1
        if batch == units:
            epoch, batch = epoch + 1, 0
    if beside:
        if rank == 0:
            close(queue, slots)
        evaluate_snapshots(network, step.loss, validation, own, batches, first, stop, results)
        barrier(ranks, pointer(workspace.sync))


@inlined_kernel
def _note_loss(loss: float, mean: bool, data: Batches, epoch: int, batch: int, results: Results) -> None:
    rows = min(data.mini_batch_size, data.rows.input.shape[0] - batch * data.mini_batch_size)
    results.train_losses[epoch, 0] += loss
    results.train_losses[epoch, 1] += loss * (rows / data.mini_batch_size if mean else 1.0)
    if not isfinite(loss) and not results.nonfinite[0]:
        results.nonfinite[0], results.nonfinite[1] = epoch + 1, batch + 1


@inner_kernel
def _workspace_of(rank: int, ranks: int, workspace: Workspace) -> Workspace:
    """Return the workspace with this rank's part of the scratch memory, where each has one."""
    parts = ranks if workspace.mode == VALIDATION_BESIDE else 1
    part = rank if parts > 1 else 0
    scratch, sums = workspace.scratch.size // parts, workspace.slab_sums.size // parts
    return Workspace(
        workspace.mode, workspace.fuses_update, workspace.block_rows,
        workspace.scratch[part * scratch : (part + 1) * scratch], workspace.classes, workspace.weights,
        workspace.chunk_grads, workspace.snapshots, workspace.slab_sums[part * sums : (part + 1) * sums],
        workspace.sync,
    )  # fmt: skip


@inlined_kernel
def _train_batch(
    rank: int, ranks: int, network: Network, data: Batches, step: Step, workspace: Workspace, epoch: int,
    batch: int, steps: int, fuses_update: bool,
) -> float:  # fmt: skip
    """Run forward, loss, backward and update of a mini-batch, after ``steps`` others; rank 0 returns the loss."""
    start = batch * data.mini_batch_size
    stop = min(start + data.mini_batch_size, data.rows.input.shape[0])
    scale = _scale(step.loss, data, epoch, start, stop)
    factor = network.parameter.dtype.type(step.loss.slope * scale)
    scalars = step.scalars[min(steps, step.scalars.shape[0] - 1)]
    lr, size, wait = scalars[0, 0], network.parameter.size, pointer(workspace.sync)
    p, g = pointer(network.parameter), pointer(network.grad)
    own_first, own_stop = rank_range(size, SLAB, rank, ranks)
    if not fuses_update:
        zero_loop(own_stop - own_first, shift(g, own_first))
    total = 0.0
    by_chunks, block_rows = workspace.mode == BY_CHUNKS, workspace.block_rows
    chunks = workspace.chunk_grads.size // size
    for group in range(start, stop, block_rows * (chunks if by_chunks else 1)):
        if by_chunks:
            end = min(group + chunks * block_rows, stop)
            _chunk_gradients(
                rank, ranks, network, data, step.loss, factor, workspace, epoch, group, end, steps, group - start
            )
            for chunk in range((end - group + block_rows - 1) // block_rows):
                add_loop(
                    own_stop - own_first, shift(pointer(workspace.chunk_grads), chunk * size + own_first),
                    shift(g, own_first), shift(g, own_first),
                )  # fmt: skip
        else:
            end = min(group + block_rows, stop)
            block = Block(
                pointer(workspace.scratch), pointer(workspace.classes), pointer(workspace.weights), g,
                workspace.slab_sums, epoch, group, end - group, steps, group - start,
            )  # fmt: skip
            by_layers = workspace.mode == BY_LAYERS
            block_gradients(rank, ranks, network, data, block, step.loss, factor, lr, fuses_update, by_layers, wait)
        if rank == 0:
            for slab in range((end - group + SLAB - 1) // SLAB):
                total += workspace.slab_sums[slab]
        barrier(ranks, wait)
    penalty = 0.0
    if not fuses_update:
        if step.penalty.spans.size:
            penalty = _add_penalty(rank, ranks, network, step, steps, wait)
        if step.norm_sums.size:
            clipped = network.grad.dtype.type(_clip_factor(rank, ranks, size, g, step, wait))
            scale_gradient(own_stop - own_first, clipped, shift(g, own_first))
        state, row = pointer(network.state), network.state.shape[1]
        update_spans(step.optimizer, scalars, step.spans, own_first, own_stop, p, g, state, row)
        barrier(ranks, wait)
    return total * scale + penalty


@inner_kernel
def _scale(loss: LossCall, data: Batches, epoch: int, start: int, stop: int) -> float:
    """Return the factor of the sum in the loss of the rows from ``start`` to ``stop`` of the epoch's order."""
    if not loss.is_mean:
        return 1.0
    if not loss.sums_weights:
        return 1.0 / ((stop - start) * loss.elements)
    total, is_weighted = 0.0, data.rows.weights.size > 0
    for place in range(start, stop):
        row = data.order[epoch, place] if data.order.size else place
        total += row_weight(
            loss.takes_classes, loss.settings, is_weighted, pointer(data.rows.classes), pointer(data.rows.weights), row
        )
    return scale_of_weights(loss, is_weighted, total)


@inner_kernel
def _add_penalty(rank: int, ranks: int, network: Network, step: Step, steps: int, wait: Pointer) -> float:
    """Return the penalty after ``steps`` others, and add its gradient together with the other ranks."""
    penalty, size = step.penalty, network.parameter.size
    factor = penalty.factors[min(steps, penalty.factors.size - 1)]
    slabs, total = (size + NORM_SLAB - 1) // NORM_SLAB, 0.0
    first, stop = rank_range(slabs, 1, rank, ranks)
    doubled = network.grad.dtype.type(2.0 * factor)
    p, g = pointer(network.parameter), pointer(network.grad)
    add_penalty_gradient(first, stop, penalty.spans, doubled, p, g, penalty.sums)
    barrier(ranks, wait)
    for slab in range(slabs):
        total += penalty.sums[slab]
    added: float = factor * total
    return added


@inner_kernel
def _clip_factor(rank: int, ranks: int, size: int, grad: Pointer, step: Step, wait: Pointer) -> float:
    """Return what the gradient is multiplied by, after its norm was found together with the other ranks."""
    slabs, total = (size + NORM_SLAB - 1) // NORM_SLAB, 0.0
    first, stop = rank_range(slabs, 1, rank, ranks)
    square_sums(first, stop, size, grad, step.norm_sums)
    barrier(ranks, wait)
    for slab in range(slabs):
        total += step.norm_sums[slab]
    if leaves_range(total):
        norm = norm_beyond_squares(size, grad, step.norm_sums)
        barrier(ranks, wait)  # before anybody scales what another reads
    else:
        norm = sqrt(total)
    return clip_factor(norm, step.max_norm)


@inner_kernel
def _chunk_gradients(
    rank: int, ranks: int, network: Network, data: Batches, loss: LossCall, factor: float, workspace: Workspace,
    epoch: int, start: int, stop: int, steps: int, before: int,
) -> None:  # fmt: skip
    """Compute the gradients of this rank's chunks of the rows from ``start`` to ``stop``, each in ``chunk_grads``."""
    size, block_rows = network.parameter.size, workspace.block_rows
    scratch = shift(pointer(workspace.scratch), rank * (workspace.scratch.size // ranks))
    classes = shift(pointer(workspace.classes), rank * (workspace.classes.size // ranks))
    weights = shift(pointer(workspace.weights), rank * (workspace.weights.size // ranks))
    wait = pointer(workspace.sync)
    for row in range(start + rank * block_rows, stop, ranks * block_rows):
        chunk = (row - start) // block_rows
        grad = shift(pointer(workspace.chunk_grads), chunk * size)
        zero_loop(size, grad)
        sums = workspace.slab_sums[chunk * block_rows // SLAB :]
        rows, ahead = min(block_rows, stop - row), before + row - start
        block = Block(scratch, classes, weights, grad, sums, epoch, row, rows, steps, ahead)
        block_gradients(0, 1, network, data, block, loss, factor, factor, False, False, wait)
    barrier(ranks, wait)

"""The loss and the hits of a network's outputs, without gradients."""

from __future__ import annotations

from fastbp_kernels.compiler.decorators import inlined_kernel, inner_kernel
from fastbp_kernels.compiler.pointers import pointer, shift
from fastbp_kernels.functions.hits import is_class_hit, is_hit
from fastbp_kernels.functions.losses.kernels import SLAB, LossCall, loss_slab
from fastbp_kernels.layers.table import OUT, Y
from fastbp_kernels.network.arguments import Network, Results, Rows, Workspace
from fastbp_kernels.network.passes import forward_rows
from fastbp_kernels.parallel.barrier import SYNC_SIZE, barrier
from fastbp_kernels.parallel.partition import rank_range
from fastbp_kernels.parallel.work_queue import finish, take


@inner_kernel
def validation_blocks(data: Rows, workspace: Workspace) -> int:
    """Return the number of blocks of validation rows."""
    n: int = data.input.shape[0]
    return (n + workspace.block_rows - 1) // workspace.block_rows


@inner_kernel
def evaluate_snapshots(
    network: Network, loss: LossCall, data: Rows, workspace: Workspace, batches: int, first: int,
    stop: int, results: Results,
) -> None:  # fmt: skip
    """Evaluate the snapshots of the parameters that rank 0 leaves in the queue, until no more will come.

    ``workspace`` has this rank's own scratch.
    """
    queue, snapshots = shift(pointer(workspace.sync), SYNC_SIZE), workspace.snapshots
    while True:
        epoch, slot = take(queue, snapshots.shape[0])
        if epoch < 0:
            break
        then = Network(network.layers, snapshots[slot], network.grad, network.state, network.scalars)
        begin = epoch * (batches + validation_blocks(data, workspace)) + batches
        evaluate_blocks(0, 1, then, loss, data, workspace, results, epoch, first - begin, stop - begin)
        finish(queue, slot)


@inner_kernel
def evaluate_blocks(
    rank: int, ranks: int, network: Network, loss: LossCall, data: Rows, workspace: Workspace,
    results: Results, epoch: int, first: int, stop: int,
) -> None:  # fmt: skip
    """Evaluate the blocks from ``first`` up to ``stop``, as far as there are any."""
    rows = workspace.block_rows
    for block in range(max(first, 0), min(stop, validation_blocks(data, workspace))):
        start, end = block * rows, min(block * rows + rows, data.input.shape[0])
        _evaluate_block(rank, ranks, network, loss, data, workspace, results, epoch, start, end)


@inlined_kernel
def _evaluate_block(
    rank: int, ranks: int, network: Network, loss: LossCall, data: Rows, workspace: Workspace,
    results: Results, epoch: int, start: int, stop: int,
) -> None:  # fmt: skip
    """Add the loss's sum and the hits of the rows from ``start`` to ``stop`` to those of the epoch."""
    layers, scratch, sums = network.layers, pointer(workspace.scratch), workspace.slab_sums
    last = layers.shape[0] - 1
    i, o = data.input.shape[1], layers[last, OUT]
    wait = pointer(workspace.sync)
    first_row, stop_row = rank_range(stop - start, SLAB, rank, ranks)
    x = shift(pointer(data.input), start * i)
    forward_rows(
        layers, pointer(network.parameter), pointer(network.scalars), scratch, x, i, first_row, stop_row, -1, 0
    )
    prediction = shift(scratch, layers[last, Y])
    expected, classes = shift(pointer(data.target), start * o), shift(pointer(data.classes), start)
    weights = shift(pointer(data.weights), start)
    for row in range(first_row, stop_row, SLAB):
        sums[row // SLAB] = loss_slab(
            loss, data.weights.size > 0, min(SLAB, stop_row - row), o, shift(prediction, row * o),
            shift(expected, row * o), shift(classes, row), shift(weights, row),
        )  # fmt: skip
    barrier(ranks, wait)
    if rank == 0:
        for slab in range((stop - start + SLAB - 1) // SLAB):
            results.val_sums[epoch] += sums[slab]
        for row in range(stop - start):
            outputs = shift(prediction, row * o)
            if loss.takes_classes:
                results.val_hits[epoch] += is_class_hit(outputs, classes[row], o)
            else:
                results.val_hits[epoch] += is_hit(outputs, shift(expected, row * o), o)
    barrier(ranks, wait)

"""The memory that the engine works in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastbp.engine.parallelism import Division
from fastbp.engine.plan import Plan
from fastbp.validation.arrays import Array, aligned_zeros
from fastbp_kernels.functions.losses.kernels import SLAB
from fastbp_kernels.network import arguments
from fastbp_kernels.parallel.barrier import SYNC_SIZE
from fastbp_kernels.parallel.work_queue import queue_size

KEPT_BYTES = 1 << 18  # of a workspace, or of the parameters, at the most, that wait for the network's next training
_SPARE_BYTES = 1 << 20  # of all workspaces, at the most, that wait for trainings of one kind


@dataclass(frozen=True)
class Workspace:
    """Memory for one training; what it held does not matter to the next.

    Attributes
    ----------
    division : Division
        It is laid out for.
    layers : ndarray
        The engine's table.
    snapshots : ndarray of shape (snapshots, parameters)
        Of the parameters, for threads that validate: one to work on and one that waits, for each.
    scratch : ndarray
        Outputs and gradients of the blocks.
    classes : ndarray of int64
        Targets of the blocks that are classes.
    weights : ndarray
        Those of the blocks' rows.
    chunk_grads : ndarray
        Gradients that are kept apart.
    slab_sums : ndarray of float64
        The losses of a block's slabs of rows.
    sync : ndarray of int64
        Of threads without a queue of snapshots, whose barrier serves call after call.
    """

    division: Division
    layers: Array
    snapshots: Array
    scratch: Array
    classes: Array
    weights: Array
    chunk_grads: Array
    slab_sums: Array
    sync: Array

    @cached_property
    def may_wait(self) -> int:
        """How many like this one may wait for the next trainings of the kind."""
        nbytes = sum(array.nbytes for array in (self.snapshots, self.scratch, self.chunk_grads, self.slab_sums))
        return _SPARE_BYTES // max(nbytes, 1) if nbytes <= KEPT_BYTES else 0

    def for_a_call(self, mode: int, fuses_update: bool) -> arguments.Workspace:
        """Return what a compiled call takes; ``mode`` may be BY_ROWS where nothing is left to do beside."""
        division = self.division
        snapshots, sync = self.snapshots, self.sync
        if division.validators:
            snapshots = snapshots if mode == division.mode else snapshots[:0]
            sync = np.zeros(SYNC_SIZE + queue_size(len(snapshots)), np.int64)
        return arguments.Workspace(
            mode, fuses_update, division.block_rows, self.scratch, self.classes, self.weights, self.chunk_grads,
            snapshots, self.slab_sums, sync,
        )  # fmt: skip


def new_workspace(plan: Plan, division: Division) -> Workspace:
    """Return memory for a training of ``plan``."""
    sparse_ranks = division.ranks if division.blocks == 1 else 1
    layers, size = plan.layout(
        division.block_rows, in_place=division.in_place, sparse_ranks=sparse_ranks if division.is_sparse else 0
    )
    parameters, snapshots = plan.parameter.size, 2 * division.validators
    return Workspace(
        division,
        layers,
        aligned_zeros(snapshots * parameters, plan.dtype).reshape(snapshots, parameters),
        aligned_zeros(division.blocks * size, plan.dtype),
        np.zeros(division.blocks * division.block_rows, np.int64),
        aligned_zeros(division.blocks * division.block_rows, plan.dtype),
        aligned_zeros(division.chunks * parameters, plan.dtype),
        np.zeros(max(division.blocks, division.chunks) * (division.block_rows // SLAB)),
        np.zeros(SYNC_SIZE + queue_size(0), np.int64),
    )

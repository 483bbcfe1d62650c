"""The memory that the engine works in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastbp.engine.parallelism import Division
from fastbp.engine.plan import Plan
from fastbp.validation.arrays import Array, aligned_zeros
from fastbp_kernels.functions.losses import SLAB

_KEPT_BYTES = 1 << 18  # of a workspace at the most that waits for the network's next training


@dataclass(frozen=True)
class Workspace:
    """Memory for one training; what it held does not matter to the next.

    Attributes
    ----------
    division : Division
        It is laid out for.
    layers : ndarray
        The engine's table.
    copies : ndarray of shape (copies, parameters)
        Of the parameters, for threads that validate: one to work on and one that waits, for each.
    scratch : ndarray
        Outputs and gradients of the blocks.
    partial : ndarray
        Gradients that are kept apart.
    slab_sums : ndarray of float64
        The losses of a block's slabs of rows.
    """

    division: Division
    layers: Array
    copies: Array
    scratch: Array
    partial: Array
    slab_sums: Array


def workspace_for(plan: Plan, division: Division) -> Workspace:
    """Return memory for a training of ``plan``: that of the last one if it was small and divided alike."""
    if plan.workspace is not None and plan.workspace.division == division:
        return plan.workspace
    layers, size = plan.layout(division.block_rows, in_place=division.in_place)
    parameters, copies = plan.parameter.size, 2 * division.validators
    workspace = Workspace(
        division,
        layers,
        aligned_zeros(copies * parameters, plan.dtype).reshape(copies, parameters),
        aligned_zeros(division.blocks * size, plan.dtype),
        aligned_zeros(division.partials * parameters, plan.dtype),
        np.zeros(max(division.blocks, division.partials) * (division.block_rows // SLAB)),
    )
    arrays = (workspace.copies, workspace.scratch, workspace.partial, workspace.slab_sums)
    plan.workspace = workspace if sum(array.nbytes for array in arrays) <= _KEPT_BYTES else None
    return workspace

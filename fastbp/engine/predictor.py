"""Predictions by the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.runtime.threads import FLOP_PER_START, get_num_threads, ranks_for, run_ranks
from fastbp.validation.arrays import Array, aligned_zeros
from fastbp_kernels.functions.losses import SLAB
from fastbp_kernels.network.predict import predict
from fastbp_kernels.network.train import BLOCK_ROWS

if TYPE_CHECKING:
    from fastbp.engine.plan import Plan


class Predictor:
    """Predicts, from any number of Python threads at once.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._table: tuple[Array, int] | None = None  # of the layers, and the size of their scratch memory
        self._free: list[Array] = []  # scratch memory that no thread uses; a list's pop and append are atomic

    def predict(self, rows: Array) -> Array:
        """Return the outputs (n, out_features) for C-contiguous ``rows`` (n, in_features) in a new array."""
        plan = self.plan
        if self._table is None:
            self._table = plan.layout(BLOCK_ROWS, in_place=True, backward=False)
        layers, scratch_size = self._table
        output = np.empty((len(rows), plan.out_features), plan.dtype)
        if plan.flop * len(rows) < 2 * FLOP_PER_START or get_num_threads() == 1:
            try:
                scratch = self._free.pop()
            except IndexError:
                scratch = aligned_zeros(scratch_size, plan.dtype)
            predict(0, 1, layers, plan.parameter, plan.scalars, scratch, BLOCK_ROWS, rows, output)
            self._free.append(scratch)
        else:
            ranks = ranks_for(plan.flop * len(rows), -(-len(rows) // SLAB), flop_per_thread=FLOP_PER_START)
            scratch = aligned_zeros(ranks * scratch_size, plan.dtype)
            run_ranks(ranks, predict, layers, plan.parameter, plan.scalars, scratch, BLOCK_ROWS, rows, output)
        return output

"""Predictions by the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.runtime.threads import FLOP_PER_START, get_num_threads, ranks_for, run_ranks
from fastbp.validation.arrays import Array, aligned_zeros
from fastbp_kernels.functions.losses.kernels import SLAB
from fastbp_kernels.linalg.sparse import SPARSE_ROWS
from fastbp_kernels.network.predict import predict
from fastbp_kernels.network.train import BLOCK_ROWS

if TYPE_CHECKING:
    from fastbp.engine.plan import Plan
    from fastbp.engine.sparse_rows import SparseRows


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
        if self._table is None:
            self._table = self.plan.layout(BLOCK_ROWS, in_place=True, backward=False)
        return self._predict(rows, *self._table, BLOCK_ROWS, self.plan.flop, self._free)

    def predict_sparse(self, rows: SparseRows) -> Array:
        """Return the same for ``SparseRows``, of a plan that takes them."""
        layers, scratch_size = self.plan.layout(SPARSE_ROWS, backward=False, sparse_ranks=1)
        rows.write_to(layers)
        return self._predict(rows.numbers, layers, scratch_size, SPARSE_ROWS, self.plan.flop_of(rows), [])

    def _predict(
        self, rows: Array, layers: Array, scratch_size: int, block_rows: int, flop: int, free: list[Array]
    ) -> Array:
        plan = self.plan
        output = np.empty((len(rows), plan.out_features), plan.dtype)
        if flop * len(rows) < 2 * FLOP_PER_START or get_num_threads() == 1:
            try:
                scratch = free.pop()
            except IndexError:
                scratch = aligned_zeros(scratch_size, plan.dtype)
            predict(0, 1, layers, plan.parameter, plan.scalars, scratch, block_rows, rows, output)
            free.append(scratch)
        else:
            ranks = ranks_for(flop * len(rows), -(-len(rows) // SLAB), flop_per_thread=FLOP_PER_START)
            scratch = aligned_zeros(ranks * scratch_size, plan.dtype)
            run_ranks(ranks, predict, layers, plan.parameter, plan.scalars, scratch, block_rows, rows, output)
        return output

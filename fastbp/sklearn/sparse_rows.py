"""Sparse samples: read by the network's first layer, or made dense where that is faster."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.engine.plan import Plan, plan_of
from fastbp.engine.predictor import Predictor
from fastbp.engine.sparse_rows import SparseRows, require_compressed
from fastbp.nn.module import Module
from fastbp.runtime.model_lock import read
from fastbp.validation.arrays import Array

# Dense rows are faster where one number in so many is stored, or more, and up to so many in all, 64 MiB, they are made.
_DENSE = 20
_AT_ONCE = 1 << 23


def rows_of(matrix: Any, model: Module, dtype: np.dtype[Any]) -> Array | SparseRows:
    """Return the rows of a sparse matrix as the engine takes them for this network."""
    require_compressed(matrix)
    numbers = np.prod(matrix.shape, dtype=np.float64)
    plan = plan_of(model)
    takes = isinstance(plan, Plan) and plan.takes_sparse_rows and plan.may_predict
    if not takes or (numbers <= _AT_ONCE and matrix.nnz * _DENSE >= numbers):
        dense: Array = matrix.astype(dtype, copy=False).toarray(order="C")
        return dense
    return SparseRows(matrix, dtype)


def predict(model: Any, matrix: Any, dtype: np.dtype[Any]) -> Array:
    """Return the network's outputs for the rows of a sparse matrix, in a new array."""
    rows = rows_of(matrix, model, dtype)
    if not isinstance(rows, SparseRows):
        outputs: Array = model.predict(rows)
        return outputs
    plan = plan_of(model)
    assert isinstance(plan, Plan)
    return read(plan.lock, lambda: Predictor(plan).predict_sparse(rows))

"""scikit-learn's losses as the engine takes them.

The engine's gradient is that of its loss; scikit-learn averages gradients over the samples, and the squared error over
the outputs too and halves it. Here that is told by the slope and the number of elements of a ``LossCall``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import xlogy

from fastbp import nn
from fastbp.nn.losses.kernel_loss import KernelLoss
from fastbp.sklearn.sparse_rows import SparseRows
from fastbp.validation.arrays import Array, plain
from fastbp_kernels.functions.losses import LossCall

_NO_CLASSES = np.empty(0, np.int64)


class Samples(NamedTuple):
    """What is trained with.

    Attributes
    ----------
    inputs : ndarray of shape (n, i), or SparseRows
    target : ndarray of shape (n, o); (0, 0) where there are classes
    classes : array of int64, shape (n,); empty where there are numbers
    weights : ndarray of shape (n,); empty where all count alike
    """

    inputs: Array | SparseRows
    target: Array
    classes: Array
    weights: Array

    def dense(self, rows: Array | slice) -> tuple[Array, Array, Array, Array]:
        """Return these rows of all, with dense inputs; what is empty stays so."""
        inputs = self.inputs.dense(rows) if isinstance(self.inputs, SparseRows) else self.inputs[rows]
        target, classes, weights = (part[rows] if len(part) else part for part in self[1:])
        return inputs, target, classes, weights


class LossTerms(NamedTuple):
    """Data and a loss.

    Attributes
    ----------
    rows : Samples
    call : LossCall
    constant : ndarray of shape (n,), or None
        What the loss of each sample has that the engine's has not.
    """

    rows: Samples
    call: LossCall
    constant: Array | None = None

    def batch_weights(self, orders: Array | None, size: int, epochs: int) -> Array:
        """Return the sums of the samples' weights, their number where there are none, of shape (epochs, batches)."""
        n, weights = len(self.rows.inputs), self.rows.weights
        starts = np.arange(0, n, size)
        if not weights.size:
            return np.broadcast_to(np.diff(starts, append=n).astype(np.float64), (epochs, len(starts)))
        sums: Array = np.add.reduceat(_in_order(weights.astype(np.float64), orders, epochs), starts, axis=1)
        if not sums.all():
            raise ZeroDivisionError("Weights sum to zero, can't be normalized")
        return sums

    def constants(self, orders: Array | None, counts: Array, size: int) -> Array:
        """Return what is added to the loss of each epoch, for the ``counts`` of ``batch_weights``."""
        if self.constant is None:
            return np.zeros(len(counts))
        n = len(self.rows.inputs)
        starts = np.arange(0, n, size)
        weighted = self.constant * self.rows.weights if self.rows.weights.size else self.constant
        sums = np.add.reduceat(_in_order(weighted, orders, len(counts)), starts, axis=1)
        means: Array = (sums / counts) @ (np.diff(starts, append=n) / n)
        return means


def _in_order(values: Array, orders: Array | None, epochs: int) -> Array:
    return np.broadcast_to(values, (epochs, len(values))) if orders is None else values[orders]


def loss_terms(
    loss: str | KernelLoss, output: str, inputs: Array | SparseRows, targets: Array, weights: Array | None
) -> LossTerms:
    """Return the terms of a loss.

    Parameters
    ----------
    loss : str or KernelLoss
        "squared_error", "poisson", "log_loss", or a name of ``LOSSES``.
    output : str
        ``out_activation_``.
    inputs : ndarray of shape (n, i), or SparseRows
    targets : ndarray of shape (n, o)
        For "softmax" one-hot rows.
    weights : ndarray of shape (n,), or None
    """
    dtype, outputs = inputs.dtype, targets.shape[1]
    own = np.empty(0, dtype) if weights is None else np.ascontiguousarray(weights.astype(dtype))
    inputs = inputs if isinstance(inputs, SparseRows) else plain(inputs)
    eps = float(np.finfo(dtype).eps)
    if output == "softmax":
        classes = targets.argmax(axis=1)
        rows = Samples(inputs, np.empty((0, 0), dtype), classes.astype(np.int64), own)
        return LossTerms(rows, _call(nn.CrossEntropyLoss(eps=eps), classes, outputs, dtype, weights))
    values = plain(targets.astype(dtype))
    rows = Samples(inputs, values, _NO_CLASSES, own)
    if loss == "log_loss":
        return LossTerms(rows, _call(nn.BCEWithLogitsLoss(eps=eps), values, outputs, dtype, weights))
    if loss == "poisson":
        wide = targets.astype(np.float64)
        constant = (xlogy(wide, wide) - wide).sum(axis=1)
        return LossTerms(rows, _call(nn.PoissonNLLLoss(), values, outputs, dtype, weights), constant)
    if loss == "squared_error":
        call = _call(nn.MSELoss(), values, outputs, dtype, weights)
        return LossTerms(rows, call._replace(slope=2.0 * outputs, elements=2 * outputs))
    criterion = LOSSES[loss]() if isinstance(loss, str) else loss
    return LossTerms(rows, _call(criterion, values, outputs, dtype, weights))


def _call(criterion: KernelLoss, target: Array, outputs: int, dtype: np.dtype[Any], weights: Array | None) -> LossCall:
    """Return a loss that is summed over the outputs and averaged over the samples."""
    return criterion.call(target, outputs, dtype, weights is not None)._replace(is_mean=True, elements=1)


LOSSES: dict[str, type[KernelLoss]] = {
    "absolute_error": nn.L1Loss,
    "huber": nn.HuberLoss,
    "smooth_absolute_error": nn.SmoothL1Loss,
}
"""Losses of the regressor beyond scikit-learn's: summed over the outputs, averaged over the samples."""

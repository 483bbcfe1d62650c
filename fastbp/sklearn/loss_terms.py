"""scikit-learn's losses as the engine takes them.

The engine's gradient is that of its loss; scikit-learn averages gradients over the samples, and the squared error over
the outputs too and halves it. Here that is told by the slope and the number of elements of a ``LossCall``.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.special import xlogy

from fastbp import nn
from fastbp.engine.sparse_rows import SparseRows
from fastbp.nn.losses.kernel_loss import KernelLoss, given_rows
from fastbp.validation.arrays import Array, plain
from fastbp.validation.user_methods import is_of_the_library, own_methods
from fastbp_kernels.functions.losses.kernels import LossCall
from fastbp_kernels.network.arguments import Rows


class LossTerms(NamedTuple):
    """Data and a loss.

    Attributes
    ----------
    inputs : ndarray of shape (n, i), or SparseRows
    target : ndarray of shape (n, o), or of class indices (n,)
        As the criterion takes them.
    weights : ndarray of shape (n,)
        Empty where all samples count alike.
    criterion : KernelLoss
    call : LossCall
        The criterion, summed and averaged as scikit-learn does.
    constant : ndarray of shape (n,), or None
        What the loss of each sample has that the engine's has not.
    """

    inputs: Array | SparseRows
    target: Array
    weights: Array
    criterion: KernelLoss
    call: LossCall
    constant: Array | None = None

    @property
    def rows(self) -> Rows:
        """All rows as a session takes them."""
        inputs: Any = self.inputs
        return given_rows(inputs, self.target, self.weights)

    def batch_weights(self, orders: Array | None, size: int, epochs: int) -> Array:
        """Return the sums of the samples' weights, their number where there are none, of shape (epochs, batches)."""
        n, weights = len(self.inputs), self.weights
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
        n = len(self.inputs)
        starts = np.arange(0, n, size)
        weighted = self.constant * self.weights if self.weights.size else self.constant
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
        classes = targets.argmax(axis=1).astype(np.int64)
        return _terms(inputs, classes, own, _criterion("CrossEntropyLoss", eps), outputs)
    values = plain(targets.astype(dtype))
    if loss == "log_loss":
        return _terms(inputs, values, own, _criterion("BCEWithLogitsLoss", eps), outputs)
    if loss == "poisson":
        wide = targets.astype(np.float64)
        constant = (xlogy(wide, wide) - wide).sum(axis=1)
        return _terms(inputs, values, own, _criterion("PoissonNLLLoss"), outputs)._replace(constant=constant)
    if loss == "squared_error":
        terms = _terms(inputs, values, own, _criterion("MSELoss"), outputs)
        return terms._replace(call=terms.call._replace(slope=2.0 * outputs, elements=2 * outputs))
    if isinstance(loss, str):
        return _terms(inputs, values, own, _criterion(LOSSES[loss].__name__), outputs)
    _require_loss_of_numbers(loss, values)
    return _terms(inputs, values, own, loss, outputs)


def _terms(inputs: Array | SparseRows, target: Array, weights: Array, criterion: KernelLoss, outputs: int) -> LossTerms:
    """Return the terms of a loss that is summed over the outputs and averaged over the samples."""
    call = criterion.call(target, outputs, inputs.dtype, bool(weights.size))
    return LossTerms(inputs, target, weights, criterion, call._replace(is_mean=True, elements=1))


@cache
def _criterion(name: str, eps: float | None = None) -> KernelLoss:
    """Return the loss of ``fastbp.nn``, the same one each time, of which settings alone are read."""
    criterion: KernelLoss = getattr(nn, name)(**({} if eps is None else {"eps": eps}))
    return criterion


def _require_loss_of_numbers(loss: KernelLoss, target: Array) -> None:
    """Raise ValueError unless a regressor can be trained by ``loss``."""
    name, why = type(loss).__name__, ""
    if not is_of_the_library(type(loss)) or own_methods(loss):
        why = "which has methods of its own; write it as an nn.ElementwiseLoss"
    elif loss.takes_indices(target):
        why = "which takes class indices"
    elif loss.columns_per_target != 1:
        why = f"which takes {loss.columns_per_target} outputs for each target; fit an estimator for each"
    elif loss.checks_prediction:
        why = "which takes probabilities as predictions; see nn.BCEWithLogitsLoss"
    elif loss.reduction not in ("mean", "batchmean"):
        why = f"whose reduction is {loss.reduction!r}; leave that out"
    if why:
        raise ValueError(
            f"MLPRegressor takes loss as 'squared_error', 'poisson', {', '.join(map(repr, LOSSES))}, or a loss of "
            f"fastbp.nn of numbers, such as nn.QuantileLoss(0.9), which is averaged over the samples; got {name}, {why}"
        )
    loss.require_targets(target, target.shape[1], "MLPRegressor", "y")


LOSSES: dict[str, type[KernelLoss]] = {
    "absolute_error": nn.L1Loss,
    "huber": nn.HuberLoss,
    "smooth_absolute_error": nn.SmoothL1Loss,
}
"""Losses of the regressor beyond scikit-learn's: summed over the outputs, averaged over the samples."""

"""Training where ``out_activation_`` was set to what does not belong to the loss: mini-batch by mini-batch.

scikit-learn takes the difference of activated outputs and targets for the gradient of its losses with respect to the
outputs, whatever their activation is. So does this; the engine's losses know their own activation only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import xlogy

from fastbp.engine.sparse_rows import SparseRows
from fastbp.sklearn.network import Network
from fastbp.sklearn.outputs import apply_output
from fastbp.validation.arrays import Array

_LOSSES = ("log_loss", "squared_error", "poisson")


class OtherOutputs:
    """Epochs for any activation of the outputs, with the methods of the engine's.

    Parameters
    ----------
    network : Network
    inputs : ndarray of shape (n, i), or SparseRows
    target : ndarray of shape (n, o)
    weights : ndarray of shape (n,), or None
    loss, output : str
        scikit-learn's names.
    batch_size : int
    alpha : float
    steps : object with ``step()``, or None

    Raises
    ------
    ValueError
        For a loss that is not scikit-learn's.
    """

    epochs_per_call = 1

    def __init__(
        self, network: Network, inputs: Array | SparseRows, target: Array, weights: Array | None, loss: Any,
        output: str, batch_size: int, alpha: float, steps: Any,
    ) -> None:  # fmt: skip
        if not isinstance(loss, str) or loss not in _LOSSES:
            raise ValueError(f"loss={loss!r} trains with out_activation_='identity', got {output!r}; set it back")
        self._network, self._inputs, self._target, self._weights = network, inputs, target, weights
        self._loss, self._output, self._size, self._alpha = loss, output, batch_size, alpha
        self._steps = steps

    def __enter__(self) -> OtherOutputs:
        return self

    def __exit__(self, *error: Any) -> None:
        """Nothing is held."""

    def run(self, epochs: int, orders: Array | None, rates: list[float] | None) -> list[float]:
        """Train so many epochs and return the loss of each, averaged over the samples."""
        losses, samples = [], len(self._target)
        for epoch in range(epochs):
            total = 0.0
            if rates is not None:
                self._steps.lr = rates[epoch]
            for start in range(0, samples, self._size):
                part = slice(start, min(start + self._size, samples))
                rows = part if orders is None else orders[epoch, part]
                total += self._gradients(rows) * (part.stop - part.start)
                self._steps.step()
            losses.append(total / samples)
        return losses

    def loss_and_gradient(self) -> float:
        """Return the loss over all samples at once, and leave its gradient with the parameters."""
        return self._gradients(slice(None))

    def _gradients(self, rows: Array | slice) -> float:
        """Return the loss of a mini-batch, and leave its gradient with the parameters."""
        model, inputs = self._network.model, self._inputs
        target, weights = self._target[rows], None if self._weights is None else self._weights[rows]
        samples = inputs.dense(rows) if isinstance(inputs, SparseRows) else inputs[rows]
        model.zero_grad()
        model.train()
        with np.errstate(all="ignore"):
            activated = apply_output(self._output, np.array(model(samples)))
            loss = float(np.average(self._per_sample(activated, target), weights=weights))
            delta = activated - target
            if weights is not None:
                delta *= weights[:, None]
            total = float(len(target)) if weights is None else float(weights.sum())
            model.backward_parameters((delta / total).astype(samples.dtype, copy=False))
            for linear in self._network.linears:
                linear.weight.accumulate(self._alpha / total * linear.weight.data)
                values = linear.weight.data.ravel()
                loss += 0.5 * self._alpha * float(values @ values) / total
        return loss

    def _per_sample(self, activated: Array, target: Array) -> Array:
        """Return the loss of each sample."""
        values: Array
        if self._loss == "squared_error":
            values = 0.5 * ((target - activated) ** 2).mean(axis=1)
        elif self._loss == "poisson":
            values = (xlogy(target, target / activated) - target + activated).sum(axis=1)
        else:
            eps = np.finfo(activated.dtype).eps
            activated = np.clip(activated, eps, 1 - eps)
            values = -xlogy(target, activated).sum(axis=1)
            if self._output == "logistic" or target.shape[1] == 1:
                values -= xlogy(1 - target, 1 - activated).sum(axis=1)
        return values

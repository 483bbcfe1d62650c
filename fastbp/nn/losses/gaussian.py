"""The negative log likelihood of a normal distribution whose variance is predicted too."""

from __future__ import annotations

from math import log, nan, pi
from typing import Any

import numpy as np

from fastbp.autograd.functions import unwrap
from fastbp.nn.losses.loss import Loss
from fastbp.nn.losses.loss_node import LossNode, constant, record_loss
from fastbp.nn.losses.one_sample import as_arrays
from fastbp.validation.arrays import Array, require_floats
from fastbp.validation.scalars import is_number, require_finite
from fastbp.validation.weights import require_row_weights


class GaussianNLLLoss(Loss):
    """``(log v + (x - y)**2 / v) / 2`` of a mean x, a target y and a variance v, as ``torch.nn.GaussianNLLLoss``.

    v is ``var``, or ``eps`` where that is larger; as in PyTorch, the gradients do not know of that. It has
    gradients for both. A loss of three arrays is for a loop of one's own: ``train_model`` does not take it.

    Parameters
    ----------
    full : bool
        Whether ``log(2 pi) / 2`` is added.
    eps : float
        Above 0.
    reduction : "mean", "sum" or "none"
        As in ``MSELoss``; with ``sample_weight`` too.

    Attributes
    ----------
    grad_var : ndarray or None
        The gradient with respect to ``var``, of the prediction's shape: left by ``backward``.
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        self.full, self.eps = bool(full), require_finite(eps, "GaussianNLLLoss", "eps")
        if self.eps <= 0:
            raise ValueError(f"GaussianNLLLoss takes an eps above 0, got {eps!r}")
        super().__init__(reduction)
        self.grad_var: Array | None = None

    def __call__(self, *arrays: Any, **options: Any) -> Any:
        return self.forward(*arrays, **options)

    def forward(  # type: ignore[override]
        self, prediction: Array, target: Array, var: Array | float, sample_weight: Array | None = None
    ) -> Any:
        """Return the loss and compute its gradients for ``backward``.

        All arrays have one shape, but ``var`` may also be one number, have one for each row, of shape (n,), or any
        dimension of 1.
        """
        if isinstance(var, np.ndarray) and var.ndim and var.shape == np.shape(prediction)[:-1]:
            var = np.expand_dims(var, -1)  # of a tensor it is recorded
        prediction, of_prediction = unwrap(prediction)
        var, of_var = unwrap(var)
        prediction, target = as_arrays(prediction, constant(target, "GaussianNLLLoss", "target"))
        variance = np.maximum(self._checked_variance(prediction, target, var), prediction.dtype.type(self.eps))
        difference = prediction - target
        quotient = difference / variance
        values = (np.log(variance) + difference * quotient) * prediction.dtype.type(0.5)
        values += prediction.dtype.type(log(2 * pi) / 2 if self.full else 0.0)
        grad, grad_var = quotient, (1 / variance - quotient * quotient) * prediction.dtype.type(0.5)
        count: float = values.size
        if sample_weight is not None:
            owner = "GaussianNLLLoss"
            weights = require_row_weights(sample_weight, values.dtype, values.shape[:1], owner, "sample_weight")
            count = float(weights.sum(dtype=np.float64)) * values[:1].size
            column = weights.reshape(-1, *[1] * (values.ndim - 1))
            values, grad, grad_var = values * column, grad * column, grad_var * column
        scale = 1.0 if self.reduction in ("none", "sum") else 1.0 / (count or nan)
        if sample_weight is not None and not count and self.reduction == "mean":
            scale = 0.0
        gradients = tuple(each * prediction.dtype.type(scale) for each in (grad, grad_var))
        value: Any = values if self.reduction == "none" else np.float64(float(values.sum(dtype=np.float64)) * scale)
        return record_loss(self, (of_prediction, of_var), value, gradients, None)

    def backward(self, grad_output: Array | None = None, *, retain_graph: bool = False) -> Array:
        """Return the gradient of the last loss with respect to its prediction, and leave ``grad_var``.

        ``grad_output``, for the reduction "none" only, is an array like what ``forward`` returned.
        """
        node = self._last
        kept = node.gradients if isinstance(node, LossNode) else ()
        grad = super().backward(grad_output, retain_graph=retain_graph)
        self.grad_var = kept[1] if grad_output is None else kept[1] * grad_output
        return grad

    def _checked_variance(self, prediction: Array, target: Array, var: Array | float) -> Array:
        """Return ``var`` as an array that fits the prediction's shape."""
        require_floats(prediction, "GaussianNLLLoss")
        require_floats(target, "GaussianNLLLoss with a prediction of that dtype", prediction.dtype)
        if is_number(var):
            var = np.full(prediction.shape, var, prediction.dtype)
        variance = require_floats(var, "GaussianNLLLoss(var=...)", prediction.dtype)
        shape = prediction.shape
        fits = variance.ndim == len(shape) and all(own in (1, size) for own, size in zip(variance.shape, shape))
        if target.shape != shape or not fits:
            remedy = "reshape the target to target[..., None], " if shape == (*target.shape, 1) else ""
            raise ValueError(
                f"GaussianNLLLoss takes target and var of the prediction's shape {shape}, got {target.shape} and "
                f"{variance.shape}; {remedy}nothing else is broadcast"
            )
        if (variance < 0).any():
            raise ValueError(f"GaussianNLLLoss takes var of 0 or more, got {variance.min()}")
        return variance

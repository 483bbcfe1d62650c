"""The negative log likelihood of a normal distribution whose variance is predicted too."""

from __future__ import annotations

from math import log, nan, pi
from typing import Any

import numpy as np

from fastbp.nn.losses.loss import Loss, LossValue
from fastbp.nn.losses.one_sample import as_arrays
from fastbp.validation.arrays import Array, require_floats
from fastbp.validation.scalars import is_number, require_finite
from fastbp.validation.weights import require_row_weights


class GaussianNLLLoss(Loss):
    """``(log v + (x - y)**2 / v) / 2`` of a mean x, a target y and a variance v, as ``torch.nn.GaussianNLLLoss``.

    v is ``var``, or ``eps`` where that is larger; as in PyTorch, the gradients do not know of that. A loss of three
    arrays is for a loop of one's own: ``train_model`` does not take it.

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
        self._last: tuple[Array, Array] | None = None
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
        prediction, target = as_arrays(prediction, target)
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
        if self.reduction == "none":
            self._last = grad, grad_var
            return values
        scale = 1.0 if self.reduction == "sum" else 1.0 / (count or nan)
        if sample_weight is not None and not count and self.reduction == "mean":
            scale = 0.0
        self._last = grad * prediction.dtype.type(scale), grad_var * prediction.dtype.type(scale)
        return LossValue(float(values.sum(dtype=np.float64)) * scale)

    def backward(self, grad_output: Array | None = None, *, retain_graph: bool = False) -> Array:
        """Return the gradient of the last ``forward`` with respect to its prediction, and leave ``grad_var``.

        ``grad_output``, for the reduction "none" only, is an array like what ``forward`` returned.
        """
        if self._last is None:
            raise RuntimeError("GaussianNLLLoss.backward needs a forward before it: call criterion(prediction, target)")
        if (grad_output is None) == (self.reduction == "none"):
            raise TypeError(
                "GaussianNLLLoss.backward takes grad_output for reduction 'none' and for no other, "
                f"got {'none' if grad_output is None else 'one'} for {self.reduction!r}"
            )
        grad, self.grad_var = self._last
        if grad_output is not None:
            require_floats(grad_output, "GaussianNLLLoss.backward", grad.dtype)
            if grad_output.shape != grad.shape:
                raise ValueError(
                    f"GaussianNLLLoss.backward takes grad_output of shape {grad.shape}, got {grad_output.shape}"
                )
            grad, self.grad_var = grad * grad_output, self.grad_var * grad_output
        if not retain_graph:
            self._last = None
        return grad

    def _checked_variance(self, prediction: Array, target: Array, var: Array | float) -> Array:
        """Return ``var`` as an array that fits the prediction's shape."""
        require_floats(prediction, "GaussianNLLLoss")
        require_floats(target, "GaussianNLLLoss with a prediction of that dtype", prediction.dtype)
        if is_number(var):
            var = np.full(prediction.shape, var, prediction.dtype)
        variance = require_floats(var, "GaussianNLLLoss(var=...)", prediction.dtype)
        shape = prediction.shape
        if variance.shape == shape[:-1] and shape:
            variance = variance[..., None]
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

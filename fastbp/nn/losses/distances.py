"""Losses of the difference between a prediction and a target of one shape and dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.nn.losses.kernel_loss import NO_CLASSES, KernelLoss
from fastbp.validation.arrays import Array
from fastbp.validation.scalars import require_finite
from fastbp_kernels import mse_forward_backward
from fastbp_kernels.functions.losses.kernels import LossCall


class MSELoss(KernelLoss):
    """The squared error, as ``torch.nn.MSELoss``: of a prediction and a target of one shape and dtype.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
        Mean over all elements, or their sum. It holds for the gradient as well.
    """

    row = "MSELoss"

    def _value_and_gradient(
        self, call: LossCall, rows: Array, values: Array, classes: Array, weights: Array, factor: float, grad: Array
    ) -> float:
        if weights.size:
            return super()._value_and_gradient(call, rows, values, classes, weights, factor, grad)
        return mse_forward_backward(rows, values, factor, grad)  # fewer arguments to look at


class L1Loss(KernelLoss):
    """The absolute difference, as ``torch.nn.L1Loss``; the derivative at 0 is 0.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
    """

    row = "L1Loss"


class SmoothL1Loss(KernelLoss):
    """``d**2 / (2 beta)`` of a difference d if ``|d| < beta``, else ``|d| - beta / 2``, as ``torch.nn.SmoothL1Loss``.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
    beta : float
        0 or more; with 0 it is ``L1Loss``.
    """

    row = "SmoothL1Loss"

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        self.beta = require_finite(beta, "SmoothL1Loss", "beta", 0.0)
        super().__init__(reduction)

    def row_for(self, target: Array) -> str:
        return self.row if self.beta else L1Loss.row

    def extra_repr(self) -> str:
        return f"beta={self.beta:g}"


class HuberLoss(KernelLoss):
    """``d**2 / 2`` of a difference d if ``|d| < delta``, else ``delta (|d| - delta / 2)``, as ``torch.nn.HuberLoss``.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
    delta : float
        Above 0.
    """

    row = "HuberLoss"

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        self.delta = require_finite(delta, "HuberLoss", "delta")
        if self.delta <= 0:
            raise ValueError(f"HuberLoss takes a delta above 0, got {delta!r}")
        super().__init__(reduction)

    def extra_repr(self) -> str:
        return f"delta={self.delta:g}"


class QuantileLoss(KernelLoss):
    """The pinball loss: ``q d`` for ``d = target - prediction`` of 0 or more, else ``(q - 1) d`` (Koenker, 1978).

    With several quantiles, a prediction has as many columns for each column of the target, side by side: shape
    ``(n, outputs * quantiles)`` for targets ``(n, outputs)``, so that ``prediction.reshape(n, outputs, quantiles)`` is
    what it means. A mean is one over all elements of the prediction. The derivative at d = 0 is -q.

    Parameters
    ----------
    quantiles : float or sequence of float
        Between 0 and 1.
    reduction : "mean", "sum" or "none"
    """

    row = "QuantileLoss"

    def __init__(self, quantiles: float | Sequence[float] = 0.5, reduction: str = "mean") -> None:
        given = quantiles if isinstance(quantiles, Sequence | np.ndarray) else [quantiles]
        self.quantiles = tuple(require_finite(q, "QuantileLoss", "quantiles") for q in given)
        if not self.quantiles or not all(0 < q < 1 for q in self.quantiles):
            raise ValueError(f"QuantileLoss takes quantiles between 0 and 1, got {quantiles!r}")
        super().__init__(reduction)

    @property
    def columns_per_target(self) -> int:
        return len(self.quantiles)

    def for_kernels(self, target: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        many = len(self.quantiles)
        return target if many == 1 else np.repeat(target, many, axis=1), NO_CLASSES

    def _checked(self, prediction: Array, target: Array) -> tuple[Array, Array, Array]:
        if len(self.quantiles) > 1 and isinstance(target, np.ndarray) and isinstance(prediction, np.ndarray):
            if target.ndim != 2 or prediction.shape != (len(target), target.shape[1] * len(self.quantiles)):
                raise ValueError(
                    f"QuantileLoss of {len(self.quantiles)} quantiles takes a prediction of shape (n, outputs * "
                    f"quantiles) and a target (n, outputs), got {prediction.shape} and {target.shape}"
                )
            target, _ = self.for_kernels(target, prediction.dtype)
        return super()._checked(prediction, target)

    def _vector(self, name: str, outputs: int) -> Array:
        return np.resize(np.array(self.quantiles), outputs)

    def extra_repr(self) -> str:
        return f"quantiles={self.quantiles}"

"""Losses: a number for a prediction and a target, and its gradient."""

from __future__ import annotations

from math import nan
from typing import Any

from fastbp.arrays import Array, Buffer, as_rows, plain, require_floats
from fastbp_kernels import mse_forward, mse_forward_backward


class MSELoss:
    """The squared error, as ``torch.nn.MSELoss``.

    Parameters
    ----------
    reduction : "mean" or "sum"
        Mean over all elements, or their sum. It holds for the gradient as well.
    """

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum"):
            raise ValueError(f"MSELoss takes reduction 'mean' or 'sum', got {reduction!r}")
        self.reduction = reduction
        self._grad = Buffer()
        self._last: Array | None = None

    def __call__(self, prediction: Array, target: Array) -> float:
        return self.forward(prediction, target)

    def forward(self, prediction: Array, target: Array) -> float:
        """Return the loss, summed in float64, and compute its gradient for ``backward`` on the way.

        Parameters
        ----------
        prediction, target : ndarray of one shape and dtype
            Both are read here only and may change afterwards.
        """
        prediction, target = self._checked(prediction, target)
        grad = self._grad.get(prediction.shape, prediction.dtype)
        scale = self.scale(grad.size)
        factor = prediction.dtype.type(2.0 * scale)
        total: float = mse_forward_backward(_rows(prediction), _rows(target), factor, _rows(grad))
        self._last = grad
        return total * scale

    def evaluate(self, prediction: Array, target: Array) -> float:
        """Return the loss without computing a gradient; what ``backward`` returns stays as it was."""
        prediction, target = self._checked(prediction, target)
        total: float = mse_forward(_rows(prediction), _rows(target))
        return total * self.scale(prediction.size)

    def backward(self) -> Array:
        """Return the gradient of the last ``forward`` with respect to its prediction.

        The array is owned by this loss: the next ``forward`` overwrites it.
        """
        if self._last is None:
            raise RuntimeError("MSELoss.backward needs a forward before it: call criterion(prediction, target)")
        return self._last.view()

    def scale(self, elements: int) -> float:
        """Return the factor of each squared difference in a loss of so many elements; NaN for a mean of none."""
        return 1.0 if self.reduction == "sum" else 1.0 / (elements or nan)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_grad": Buffer(), "_last": None}

    @staticmethod
    def _checked(prediction: Array, target: Array) -> tuple[Array, Array]:
        require_floats(prediction, "MSELoss")
        require_floats(target, "MSELoss with a prediction of that dtype", prediction.dtype)
        if prediction.shape != target.shape:
            raise ValueError(
                f"MSELoss takes a target of the prediction's shape {prediction.shape}, got {target.shape}; "
                "reshape the target, nothing is broadcast"
            )
        return plain(prediction), plain(target)

    def __repr__(self) -> str:
        return f"MSELoss(reduction={self.reduction!r})"


def _rows(array: Array) -> Array:
    """View an array of any shape as (n, features), a vector or a number as one column."""
    return as_rows(array) if array.ndim > 1 else array.reshape(array.size, 1)

"""Binary cross entropy: of probabilities, and of logits."""

from __future__ import annotations

from typing import Any

from fastbp.nn.losses.kernel_loss import KernelLoss
from fastbp.validation.arrays import Array
from fastbp.validation.probabilities import require_clipping, require_probabilities
from fastbp.validation.weights import weight_vector
from fastbp_kernels.functions.losses.kernels import LOSS_CODES, LOSSES


class _BinaryLoss(KernelLoss):
    """A loss with a weight for each column, which takes a vector of as many numbers for one row."""

    def _as_rows(self, array: Array) -> Array:
        weights = [getattr(self, name) for name in LOSSES[LOSS_CODES[self.row]].vectors]
        if array.ndim == 1 and any(w is not None and w.size == array.size > 1 for w in weights):
            return array[None]
        return super()._as_rows(array)


class BCELoss(_BinaryLoss):
    """``-(y log x + (1 - y) log(1 - x))`` of a probability x and a target y, as ``torch.nn.BCELoss``.

    Logarithms below -100 count as -100. Both are from 0 to 1; ``BCEWithLogitsLoss`` takes a network without a sigmoid
    at its end, and is exact for probabilities near 0 and 1.

    Parameters
    ----------
    weight : sequence of float, or None
        By which the loss of each column is multiplied: one number, or one for each. A mean still divides by the number
        of elements. A vector of as many numbers is one row. A weight for each row of data is ``sample_weight``.
    reduction : "mean", "sum" or "none"
    """

    row = "BCELoss"
    checks_prediction = True

    def __init__(self, weight: Any = None, *, reduction: str = "mean") -> None:
        self.weight = weight_vector(weight, "BCELoss", "weight")
        super().__init__(reduction)

    def require_targets(self, target: Array, outputs: int, owner: str, name: str) -> None:
        require_probabilities(target, owner, name, "targets of BCELoss")

    def _checked(self, prediction: Array, target: Array) -> tuple[Array, Array, Array]:
        checked = super()._checked(prediction, target)
        remedy = "predictions of BCELoss; end the network with Sigmoid, or use BCEWithLogitsLoss"
        require_probabilities(checked[0], "BCELoss", "prediction", remedy)
        self.require_targets(checked[1], checked[1].shape[1], "BCELoss", "target")
        return checked


class BCEWithLogitsLoss(_BinaryLoss):
    """``BCELoss`` of the sigmoid of a prediction, computed without overflow, as ``torch.nn.BCEWithLogitsLoss``.

    Parameters
    ----------
    weight : sequence of float, or None
        As in ``BCELoss``.
    reduction : "mean", "sum" or "none"
    pos_weight : sequence of float, or None
        By which ``y log(sigmoid(x))`` is multiplied besides: one number, or one for each column.
    eps : float from 0 up to, but not, 0.5
        Probabilities below it count as it, and those above ``1 - eps`` as that, in the loss but not in its gradient: as
        in ``sklearn.metrics.log_loss``. 0 for the loss as it is.
    """

    row = "BCEWithLogitsLoss"
    takes_logits = True

    def __init__(
        self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None, eps: float = 0.0
    ) -> None:
        self.weight = weight_vector(weight, "BCEWithLogitsLoss", "weight")
        self.pos_weight = weight_vector(pos_weight, "BCEWithLogitsLoss", "pos_weight")
        self.eps = require_clipping(eps, "BCEWithLogitsLoss")
        super().__init__(reduction)

    def row_for(self, target: Array) -> str:
        return f"{self.row}:clipped" if self.eps else self.row

    def require_targets(self, target: Array, outputs: int, owner: str, name: str) -> None:
        require_probabilities(target, owner, name, "targets of BCEWithLogitsLoss")

    def _checked(self, prediction: Array, target: Array) -> tuple[Array, Array, Array]:
        checked = super()._checked(prediction, target)
        self.require_targets(checked[1], checked[1].shape[1], "BCEWithLogitsLoss", "target")
        return checked

"""Losses whose targets are classes: cross entropy, and negative log likelihood."""

from __future__ import annotations

from math import inf, log
from typing import Any

import numpy as np

from fastbp.autograd.functions import unwrap
from fastbp.nn.losses.class_axis import by_rows
from fastbp.nn.losses.kernel_loss import NO_CLASSES, KernelLoss, no_values
from fastbp.validation.arrays import Array, plain, require_floats
from fastbp.validation.classes import class_indices, require_classes, require_integers
from fastbp.validation.probabilities import require_clipping, require_probabilities
from fastbp.validation.scalars import require_finite
from fastbp.validation.weights import weight_vector


class _ClassLoss(KernelLoss):
    """A loss of (n, classes) whose targets are integers (n,), with a weight for each class and one that is ignored."""

    takes_classes = True

    def __init__(self, weight: Any, ignore_index: int, reduction: str) -> None:
        name = type(self).__name__
        self.weight = weight_vector(weight, name, "weight")
        if isinstance(ignore_index, bool) or not isinstance(ignore_index, int | np.integer):
            raise TypeError(f"{name} takes ignore_index as an int, got {ignore_index!r}")
        self.ignore_index = int(ignore_index)
        super().__init__(reduction)

    def _loss_of(self, prediction: Any, target: Any, sample_weight: Any) -> tuple[Any, tuple[Array], int | None]:
        places, *arrays = by_rows(type(self).__name__, prediction, target, sample_weight)
        value, (grad,), axis = super()._loss_of(*arrays)
        if places is None:
            return value, (grad,), axis
        value = value.reshape(places.places) if self._reduction == "none" else value
        return value, (places.put_back(grad),), places.axis

    def evaluate(self, prediction: Array, target: Array, sample_weight: Array | None = None) -> Any:
        if "evaluate" in self._passed_by or "forward" in vars(self):
            return super().evaluate(prediction, target, sample_weight)
        numbers = unwrap(prediction)[0], unwrap(target)[0]
        places, *arrays = by_rows(type(self).__name__, *numbers, sample_weight)
        value = super().evaluate(*arrays)
        return value if places is None or self._reduction != "none" else value.reshape(places.places)

    def require_targets(self, target: Array, outputs: int, owner: str, name: str) -> None:
        require_classes(target, (len(target), outputs), owner, name, self.ignore_index)

    def for_kernels(self, target: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        if self.ignore_index < 0 and (not target.size or target.min() >= 0):
            return no_values(dtype), target
        return no_values(dtype), np.where(target == self.ignore_index, -1, target)

    def sums_weights(self, classes: Array) -> bool:
        return bool(classes.size) and (self.weight is not None or bool(classes.min() < 0))

    def _checked(self, prediction: Array, target: Array) -> tuple[Array, Array, Array]:
        name = type(self).__name__
        self._require_prediction(prediction)
        classes = class_indices(require_integers(target, name, "target"))
        outputs = prediction.shape[1]
        is_plain = classes.shape == prediction.shape[:1] and not 0 <= self.ignore_index < outputs
        if not (is_plain and classes.size and classes.min() >= 0 and classes.max() < outputs):
            require_classes(classes, prediction.shape, name, "target", self.ignore_index)
            return plain(prediction), *self.for_kernels(classes, prediction.dtype)
        return plain(prediction), no_values(prediction.dtype), classes

    def _require_prediction(self, prediction: Array) -> None:
        name = type(self).__name__
        require_floats(prediction, name)
        if prediction.ndim != 2 or not prediction.shape[1]:
            raise ValueError(
                f"{name} takes logits of shape (n, classes) with one class or more, got {prediction.shape}"
            )

    def extra_repr(self) -> str:
        return "" if self.ignore_index == -100 else f"ignore_index={self.ignore_index}"


class CrossEntropyLoss(_ClassLoss):
    """``weight[class] (log(sum of exp(logits)) - logits[class])`` of each row, as ``torch.nn.CrossEntropyLoss``.

    A prediction are logits of shape (n, classes). A target are integers of shape (n,), each from 0 up to classes - 1,
    or probabilities of the classes from 0 to 1, of the prediction's shape and dtype; then a loss is the sum over the
    classes of ``weight probability (log(sum of exp(logits)) - logits)``. As in PyTorch, a prediction may also have the
    shape (classes,) or (n, classes, ...), of which each place counts as a row.

    Parameters
    ----------
    weight : sequence of float, or None
        A weight for each class.
    ignore_index : int
        Rows of this class have no loss and no gradient; it may be outside the range of classes. For class indices only.
    reduction : "mean", "sum" or "none"
        A mean over rows of class indices divides by the sum of their classes' weights, times their own if they have
        any; it is NaN if all are ignored. One over rows of probabilities divides by their number, or the sum of their
        own weights.
    label_smoothing : float from 0 to 1
        Mixes the target with so many parts of a uniform distribution.
    eps : float from 0 up to, but not, 0.5
        A probability of the row's class below it counts as it, in the loss but not in its gradient: as in
        ``sklearn.metrics.log_loss``. For class indices without smoothing only; 0 for the loss as it is.
    """

    row = "CrossEntropyLoss"

    def __init__(
        self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0,
        eps: float = 0.0,
    ) -> None:  # fmt: skip
        self.label_smoothing = require_finite(label_smoothing, "CrossEntropyLoss", "label_smoothing")
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(f"CrossEntropyLoss takes label_smoothing from 0 to 1, got {label_smoothing!r}")
        self.eps = require_clipping(eps, "CrossEntropyLoss")
        if self.eps and self.label_smoothing:
            raise ValueError(f"CrossEntropyLoss takes eps without label_smoothing, got {label_smoothing!r}")
        self.largest = -log(self.eps) if self.eps else inf  # of a row's loss, before its weight
        super().__init__(weight, ignore_index, reduction)

    @staticmethod
    def are_probabilities(target: Any) -> bool:
        """Whether a target can only be probabilities of classes: an array of floats with two dimensions."""
        return isinstance(target, np.ndarray) and target.ndim == 2 and target.dtype.kind == "f"

    def takes_indices(self, target: Array) -> bool:
        return not self.are_probabilities(target)

    def row_for(self, target: Array) -> str:
        return "CrossEntropyLoss:probabilities" if self.are_probabilities(target) else self.row

    def require_targets(self, target: Array, outputs: int, owner: str, name: str) -> None:
        if not self.are_probabilities(target):
            super().require_targets(target, outputs, owner, name)
        else:
            self._require_no_eps(owner, name)
            require_probabilities(target, owner, name, "probabilities of the classes")

    def for_kernels(self, target: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        return (target, NO_CLASSES) if self.are_probabilities(target) else super().for_kernels(target, dtype)

    def _checked(self, prediction: Array, target: Array) -> tuple[Array, Array, Array]:
        if not self.are_probabilities(target):
            return super()._checked(prediction, target)
        self._require_prediction(prediction)
        self._require_no_eps("CrossEntropyLoss", "target")
        rows, values, classes = KernelLoss._checked(self, prediction, target)
        require_probabilities(values, "CrossEntropyLoss", "target", "probabilities of the classes")
        return rows, values, classes

    def _require_no_eps(self, owner: str, name: str) -> None:
        if self.eps:
            raise ValueError(
                f"{owner} takes {name} as class indices for a CrossEntropyLoss with eps, got probabilities of them"
            )

    def extra_repr(self) -> str:
        smoothing = f"label_smoothing={self.label_smoothing:g}" if self.label_smoothing else ""
        return ", ".join(part for part in (super().extra_repr(), smoothing) if part)


class NLLLoss(_ClassLoss):
    """``-weight[class] x[class]`` of each row of logarithms of probabilities, as ``torch.nn.NLLLoss``.

    Parameters
    ----------
    weight, ignore_index, reduction
        As in ``CrossEntropyLoss`` with class indices.
    """

    row = "NLLLoss"

    def __init__(self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight, ignore_index, reduction)

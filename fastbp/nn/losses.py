"""Losses: a number for a prediction and a target, and its gradient."""

from __future__ import annotations

from math import nan
from typing import Any, ClassVar, NoReturn

from fastbp.nn.last_forward import token_of_output
from fastbp.runtime.buffers import Buffer, Slot
from fastbp.validation.arrays import Array, as_rows, plain, require_floats
from fastbp.validation.classes import class_indices, require_classes, require_integers
from fastbp.validation.user_methods import follow, passes_by
from fastbp_kernels import (
    cross_entropy_forward,
    cross_entropy_forward_backward,
    mse_forward,
    mse_forward_backward,
)
from fastbp_kernels.functions.losses import LOSS_CODES, LOSSES

_SHORTCUTS = {"evaluate": ("forward", "__call__")}


class LossValue(float):
    """A loss: a float, with what PyTorch's users call on theirs. Copies and pickles of it are floats."""

    __slots__ = ()

    def item(self) -> float:
        """Return the number."""
        return float(self)

    def backward(self) -> NoReturn:
        """Raise TypeError: a number knows no network."""
        raise TypeError(
            "a loss of fastbp is a number and there is no autograd, got a call of its backward(); "
            "call model.backward(criterion.backward())"
        )

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (float(self),)


class Loss:
    """The base class of all losses: their reduction, and what a subclass that redefines ``forward`` is evaluated by.

    Parameters
    ----------
    reduction : "mean" or "sum"
        It holds for the gradient as well.
    """

    takes_classes: ClassVar[bool] = False  # a class index a row instead of an array like the prediction
    _passed_by: ClassVar[frozenset[str]] = frozenset()  # short cuts of a base that this class may not take

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        follow(cls, _SHORTCUTS, Loss)
        cls._passed_by = frozenset(name for name, methods in _SHORTCUTS.items() if passes_by(cls, name, methods))

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    @property
    def reduction(self) -> str:
        """May be set between forwards."""
        return self._reduction

    @reduction.setter
    def reduction(self, reduction: str) -> None:
        if reduction not in ("mean", "sum"):
            raise ValueError(f"{type(self).__name__} takes reduction 'mean' or 'sum', got {reduction!r}")
        self._reduction = reduction

    def __call__(self, prediction: Array, target: Array) -> float:
        return self.forward(prediction, target)

    def forward(self, prediction: Array, target: Array) -> float:
        """Return the loss and compute its gradient for ``backward``."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(prediction, target)")

    def evaluate(self, prediction: Array, target: Array) -> float:
        """Return the loss where no ``backward`` is to follow."""
        return self(prediction, target)

    def backward(self, *, retain_graph: bool = False) -> Array:
        """Return the gradient of the last ``forward`` with respect to its prediction."""
        raise NotImplementedError(f"{type(self).__name__} does not define backward()")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reduction={self.reduction!r})"


class KernelLoss(Loss):
    """A loss with a row in ``fastbp_kernels.functions.losses``: value and gradient in one pass of a kernel.

    Subclasses name the row and give ``_checked``, ``_value_and_gradient`` and ``_value``.

    Attributes
    ----------
    code : int
        The place of the row.
    """

    row: ClassVar[str]

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.code = LOSS_CODES[self.row]
        self._slope = LOSSES[self.code].slope
        self._counts_elements = LOSSES[self.code].mean_over == "elements"
        self._grad = Buffer()
        self._last: Slot | None = None
        self._is_spent = False

    def scale(self, count: int) -> float:
        """Return the factor of the sum in a loss of so many elements or rows; NaN for a mean of none."""
        return 1.0 if self._reduction == "sum" else 1.0 / (count or nan)

    def counted(self, rows: int, outputs: int) -> int:
        """Return what ``scale`` takes for so many rows of outputs."""
        return rows * outputs if self._counts_elements else rows

    def _checked(self, prediction: Array, target: Array) -> tuple[Array, Array]:
        """Return both as the kernels take them."""
        raise NotImplementedError

    def _value_and_gradient(self, prediction: Array, target: Array, factor: float, grad: Array) -> float:
        raise NotImplementedError

    def _value(self, prediction: Array, target: Array) -> float:
        raise NotImplementedError

    def forward(self, prediction: Array, target: Array) -> float:
        """Return the loss, summed in float64, and compute its gradient for ``backward`` on the way.

        Both arrays are read here only and may change afterwards.
        """
        rows, target_rows = self._checked(prediction, target)
        slot = self._grad.take(prediction.shape, prediction.dtype)
        scale = self.scale(self.counted(*rows.shape))
        factor = prediction.dtype.type(self._slope * scale)
        self._last = None
        total = self._value_and_gradient(rows, target_rows, factor, _rows(slot.array))
        slot.memory.gradient_for = token_of_output(prediction)
        self._last, self._is_spent = slot, False
        return LossValue(total * scale)

    def evaluate(self, prediction: Array, target: Array) -> float:
        """Return the loss without computing a gradient; what ``backward`` returns stays as it was."""
        if "evaluate" in self._passed_by or "forward" in vars(self):
            return super().evaluate(prediction, target)
        rows, target_rows = self._checked(prediction, target)
        return self._value(rows, target_rows) * self.scale(self.counted(*rows.shape))

    def backward(self, *, retain_graph: bool = False) -> Array:
        """Return the gradient of the last ``forward`` with respect to its prediction; it is the caller's.

        ``retain_graph`` lets another backward follow this one for the same forward, with the same array.
        """
        name = type(self).__name__
        if self._last is None:
            raise RuntimeError(f"{name}.backward needs a forward before it: call criterion(prediction, target)")
        if self._is_spent:
            raise RuntimeError(
                f"{name}.backward was called for the last forward already; keep the array that it returned, or give "
                "the first of several backwards retain_graph=True"
            )
        self._is_spent = not retain_graph
        return self._last.array.view()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_grad": Buffer(), "_last": None}


class MSELoss(KernelLoss):
    """The squared error, as ``torch.nn.MSELoss``: of a prediction and a target of one shape and dtype.

    Parameters
    ----------
    reduction : "mean" or "sum"
        Mean over all elements, or their sum. It holds for the gradient as well.
    """

    row = "MSELoss"

    def _checked(self, prediction: Array, target: Array) -> tuple[Array, Array]:
        require_floats(prediction, "MSELoss")
        require_floats(target, "MSELoss with a prediction of that dtype", prediction.dtype)
        if prediction.shape != target.shape:
            raise ValueError(
                f"MSELoss takes a target of the prediction's shape {prediction.shape}, got {target.shape}; "
                "reshape the target, nothing is broadcast"
            )
        return _rows(plain(prediction)), _rows(plain(target))

    def _value_and_gradient(self, prediction: Array, target: Array, factor: float, grad: Array) -> float:
        return mse_forward_backward(prediction, target, factor, grad)

    def _value(self, prediction: Array, target: Array) -> float:
        return mse_forward(prediction, target)


class CrossEntropyLoss(KernelLoss):
    """``log(sum of exp(logits)) - logits[class]`` of each row, as ``torch.nn.CrossEntropyLoss`` with class indices.

    A prediction are logits of shape (n, classes), a target integers of shape (n,), each from 0 up to classes - 1.

    Parameters
    ----------
    weight : None
    ignore_index : -100
        No class has a weight and none is ignored: -100 as a target is refused too.
    reduction : "mean" or "sum"
        Mean over the rows, or their sum. It holds for the gradient as well.
    label_smoothing : 0.0
    """

    row = "CrossEntropyLoss"
    takes_classes = True

    def __init__(
        self, weight: None = None, *, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:
        asked = [] if weight is None else ["weight"]
        asked += [f"ignore_index={ignore_index!r}"] if ignore_index != -100 else []
        asked += [f"label_smoothing={label_smoothing!r}"] if label_smoothing else []
        if asked:
            raise ValueError(f"CrossEntropyLoss takes class indices and does not support {', '.join(asked)}")
        super().__init__(reduction)

    def _checked(self, prediction: Array, target: Array) -> tuple[Array, Array]:
        require_floats(prediction, "CrossEntropyLoss")
        if prediction.ndim != 2 or not prediction.shape[1]:
            raise ValueError(
                f"CrossEntropyLoss takes logits of shape (n, classes) with one class or more, got {prediction.shape}"
            )
        classes = class_indices(require_integers(target, "CrossEntropyLoss", "target"))
        return plain(prediction), require_classes(classes, prediction.shape, "CrossEntropyLoss", "target")

    def _value_and_gradient(self, prediction: Array, target: Array, factor: float, grad: Array) -> float:
        return cross_entropy_forward_backward(prediction, target, factor, grad)

    def _value(self, prediction: Array, target: Array) -> float:
        return cross_entropy_forward(prediction, target)


def _rows(array: Array) -> Array:
    """View an array of any shape as (n, features), a vector or a number as one column."""
    return as_rows(array) if array.ndim > 1 else array.reshape(array.size, 1)

"""Losses: a number for a prediction and a target, and its gradient."""

from __future__ import annotations

from math import nan
from typing import Any, ClassVar, NoReturn

from fastbp.nn.last_forward import token_of_output
from fastbp.nn.overrides import follow, passes_by
from fastbp.runtime.buffers import Buffer, Slot
from fastbp.validation.arrays import Array, as_rows, plain, require_floats
from fastbp_kernels import mse_forward, mse_forward_backward

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


class MSELoss(Loss):
    """The squared error, as ``torch.nn.MSELoss``.

    Parameters
    ----------
    reduction : "mean" or "sum"
        Mean over all elements, or their sum. It holds for the gradient as well.
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._grad = Buffer()
        self._last: Slot | None = None
        self._is_spent = False

    def forward(self, prediction: Array, target: Array) -> float:
        """Return the loss, summed in float64, and compute its gradient for ``backward`` on the way.

        Parameters
        ----------
        prediction, target : ndarray of one shape and dtype
            Both are read here only and may change afterwards.
        """
        rows, target_rows = self._checked(prediction, target)
        slot = self._grad.take(prediction.shape, prediction.dtype)
        scale = self.scale(prediction.size)
        factor = prediction.dtype.type(2.0 * scale)
        self._last = None
        grad = _rows(slot.array)
        total: float = mse_forward_backward(rows, target_rows, factor, grad)
        slot.memory.gradient_for = token_of_output(prediction)
        self._last, self._is_spent = slot, False
        return LossValue(total * scale)

    def evaluate(self, prediction: Array, target: Array) -> float:
        """Return the loss without computing a gradient; what ``backward`` returns stays as it was."""
        if "evaluate" in self._passed_by or "forward" in vars(self):
            return super().evaluate(prediction, target)
        total: float = mse_forward(*self._checked(prediction, target))
        return total * self.scale(prediction.size)

    def backward(self, *, retain_graph: bool = False) -> Array:
        """Return the gradient of the last ``forward`` with respect to its prediction; it is the caller's.

        ``retain_graph`` lets another backward follow this one for the same forward, with the same array.
        """
        if self._last is None:
            raise RuntimeError("MSELoss.backward needs a forward before it: call criterion(prediction, target)")
        if self._is_spent:
            raise RuntimeError(
                "MSELoss.backward was called for the last forward already; keep the array that it returned, or give "
                "the first of several backwards retain_graph=True"
            )
        self._is_spent = not retain_graph
        return self._last.array.view()

    def scale(self, elements: int) -> float:
        """Return the factor of each squared difference in a loss of so many elements; NaN for a mean of none."""
        return 1.0 if self._reduction == "sum" else 1.0 / (elements or nan)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_grad": Buffer(), "_last": None}

    @staticmethod
    def _checked(prediction: Array, target: Array) -> tuple[Array, Array]:
        """Return both as rows that the kernels take."""
        require_floats(prediction, "MSELoss")
        require_floats(target, "MSELoss with a prediction of that dtype", prediction.dtype)
        if prediction.shape != target.shape:
            raise ValueError(
                f"MSELoss takes a target of the prediction's shape {prediction.shape}, got {target.shape}; "
                "reshape the target, nothing is broadcast"
            )
        return _rows(plain(prediction)), _rows(plain(target))


def _rows(array: Array) -> Array:
    """View an array of any shape as (n, features), a vector or a number as one column."""
    return as_rows(array) if array.ndim > 1 else array.reshape(array.size, 1)

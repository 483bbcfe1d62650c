"""What all losses have: a reduction, and the number that they return."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from fastbp.validation.arrays import Array
from fastbp.validation.read_only import tell_read_only
from fastbp.validation.user_methods import follow, is_of_the_library, passes_by

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

    A subclass whose ``forward`` takes ``sample_weight`` trains with weights of the rows; see ``train_model``.

    Parameters
    ----------
    reduction : "mean", "sum" or "none"
        It holds for the gradient as well.
    """

    takes_classes: ClassVar[bool] = False  # a class index a row instead of an array like the prediction
    takes_logits: ClassVar[bool] = False  # whether a single output's sides part at 0
    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")
    _passed_by: ClassVar[frozenset[str]] = frozenset()  # short cuts of a base that this class may not take

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        follow(cls, _SHORTCUTS, Loss)
        if is_of_the_library(cls):
            tell_read_only(cls, "build another loss")
        cls._passed_by = frozenset(name for name, methods in _SHORTCUTS.items() if passes_by(cls, name, methods))

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    @property
    def reduction(self) -> str:
        """May be set between forwards."""
        return self._reduction

    @reduction.setter
    def reduction(self, reduction: str) -> None:
        if reduction not in self.reductions:
            taken = ", ".join(map(repr, self.reductions[:-1])) + f" or {self.reductions[-1]!r}"
            raise ValueError(f"{type(self).__name__} takes reduction {taken}, got {reduction!r}")
        self._reduction = reduction

    def __call__(self, prediction: Array, target: Array, sample_weight: Array | None = None) -> Any:
        if sample_weight is None:
            return self.forward(prediction, target)
        return self.forward(prediction, target, sample_weight=sample_weight)

    def forward(self, prediction: Array, target: Array, sample_weight: Array | None = None) -> Any:
        """Return the loss and compute its gradient for ``backward``."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(prediction, target)")

    def evaluate(self, prediction: Array, target: Array, sample_weight: Array | None = None) -> Any:
        """Return the loss where no ``backward`` is to follow."""
        return self(prediction, target) if sample_weight is None else self(prediction, target, sample_weight)

    def backward(self, grad_output: Array | None = None, *, retain_graph: bool = False) -> Array:
        """Return the gradient of the last ``forward`` with respect to its prediction."""
        raise NotImplementedError(f"{type(self).__name__} does not define backward()")

    def extra_repr(self) -> str:
        """Return what ``repr`` shows before the reduction."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        return f"{type(self).__name__}({extra}{', ' if extra else ''}reduction={self.reduction!r})"

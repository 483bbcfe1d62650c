"""Early stopping: a training ends when a series of its history has not become better for some epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isnan
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from fastbp.nn.module import Module
from fastbp.validation.arrays import Array
from fastbp.validation.scalars import require_finite

if TYPE_CHECKING:
    from fastbp.training.history import History

Mode: TypeAlias = Literal["min", "max"]

_LARGER_IS_BETTER = ("val_accuracy", "val_r2")
_SMALLER_IS_BETTER = ("train_loss", "train_loss_mean", "val_loss", "val_loss_mean", "val_mae")


@dataclass(frozen=True)
class EarlyStopping:
    """Ends a training after ``patience`` epochs in a row that are no better than the best one: see ``train_model``.

    An epoch is the best if its number is better than the best so far by more than ``min_delta``; NaN is never better.

    Parameters
    ----------
    patience : int
        1 or more.
    min_delta : float
        0 or more.
    monitor : str
        The series of ``History`` that is looked at, such as "val_loss", "val_accuracy" or "val_<name of a metric>".
    mode : "min", "max" or None
        Whether smaller or larger numbers are better. None is for losses, "val_mae", "val_accuracy" and "val_r2", which
        are known.
    restore_best : bool
        Whether the model has its state of the best epoch when the training ends: after early stopping, or after all
        ``epochs``. The optimiser's state is left as it is. Where the same training goes on with more epochs or another
        patience, it goes on from where it ended and not from the best epoch.

    Raises
    ------
    TypeError, ValueError
    """

    patience: int
    min_delta: float = 0.0
    monitor: str = "val_loss"
    mode: Mode | None = None
    restore_best: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.patience, bool) or not isinstance(self.patience, int | np.integer):
            raise TypeError(f"EarlyStopping takes patience as an int, got {self.patience!r}")
        if self.patience < 1:
            raise ValueError(f"EarlyStopping takes patience of 1 or more, got {self.patience}")
        object.__setattr__(self, "min_delta", require_finite(self.min_delta, "EarlyStopping", "min_delta", least=0))
        if not isinstance(self.monitor, str):
            raise TypeError(f"EarlyStopping takes monitor as the name of a series, got {self.monitor!r}")
        if self.mode is None:
            object.__setattr__(self, "mode", _mode_of(self.monitor))
        elif self.mode not in ("min", "max"):
            raise ValueError(f"EarlyStopping takes mode 'min' or 'max', got {self.mode!r}")

    def is_better(self, value: float, best: float) -> bool:
        """Whether ``value`` is better than ``best``, which is NaN where there is none."""
        if isnan(best):
            return not isnan(value)
        return value < best - self.min_delta if self.mode == "min" else value > best + self.min_delta


def _mode_of(monitor: str) -> Mode:
    if monitor in _SMALLER_IS_BETTER:
        return "min"
    if monitor in _LARGER_IS_BETTER:
        return "max"
    raise ValueError(f"EarlyStopping takes mode='min' or mode='max' for {monitor!r}, which it does not know, got None")


@dataclass
class BestEpoch:
    """What is known of the best epoch of a training, a part of its history.

    Attributes
    ----------
    rule : EarlyStopping
    before : int
        Epochs that do not count: those from before the training was looked at.
    epoch : int or None
        The best one, from 1; None before there is one.
    state : mapping of str to ndarray, or None
        The model's ``state_dict()`` after that epoch, if that is to be restored.
    """

    rule: EarlyStopping
    before: int
    epoch: int | None = None
    state: Mapping[str, Array] | None = None

    def serves(self, rule: EarlyStopping) -> bool:
        """Whether this is what ``rule`` looks for, whatever its patience."""
        return replace(self.rule, patience=rule.patience) == rule

    def look(self, history: History, model: Module) -> None:
        """Look at the last finished epoch, at whose end the model stands."""
        values = history[self.rule.monitor]
        if history.epochs <= self.before:
            return
        if self.rule.is_better(values[-1], float("nan") if self.epoch is None else values[self.epoch - 1]):
            state = model.state_dict() if self.rule.restore_best else None
            self.epoch, self.state = history.epochs, state

    def is_over(self, history: History) -> bool:
        """Whether patience has ended."""
        return history.epochs - (self.epoch or self.before) >= self.rule.patience

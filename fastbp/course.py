"""What a training works with, whichever way it goes: the parts, the data, and the course it takes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from fastbp.arrays import Array
from fastbp.divergence import Watch
from fastbp.history import History
from fastbp.orders import Orders


class Criterion(Protocol):
    """A loss such as ``fastbp.nn.MSELoss``."""

    def forward(self, prediction: Array, target: Array) -> float: ...
    def backward(self) -> Array: ...


class Optimizer(Protocol):
    """An optimiser such as ``fastbp.optim.SGD``."""

    def step(self) -> None: ...


def loss_of(criterion: Criterion) -> Callable[[Array, Array], float]:
    """Return what computes the loss and prepares ``criterion.backward()``: the criterion as a user would call it."""
    return criterion if callable(criterion) else criterion.forward


def evaluation_of(criterion: Criterion) -> Callable[[Array, Array], float]:
    """Return what computes the loss where no backward follows."""
    evaluate: Callable[[Array, Array], float] = getattr(criterion, "evaluate", None) or loss_of(criterion)
    return evaluate


@dataclass(frozen=True)
class Rows:
    """Inputs and targets with a row a sample, C-contiguous and of one dtype."""

    input: Array
    target: Array

    def __len__(self) -> int:
        return len(self.input)


class Epochs(NamedTuple):
    """What finished epochs left: sums of the batch losses, and loss and accuracy on the validation data if any."""

    train_loss: list[float]
    val_loss: list[float]
    val_accuracy: list[float]


@dataclass(frozen=True)
class Course:
    """What a trainer is to do and whom it tells.

    Attributes
    ----------
    history : History
        Where the training stands; written.
    epochs : int
        How many the history is to have in the end.
    orders : Orders
    held : context manager
        Holds Ctrl-C back.
    watch : Watch or None
    stops_at_epochs : bool
        Whether somebody looks at the model after each epoch.
    """

    history: History
    epochs: int
    orders: Orders = field(default_factory=lambda: Orders(None, 0))
    held: AbstractContextManager[None] = field(default_factory=nullcontext)
    watch: Watch | None = None
    stops_at_epochs: bool = False


def accuracy(prediction: Array, one_hot_target: Array) -> float:
    """Return the share of rows whose largest output stands where the target has its 1; NaN for no rows."""
    hits = prediction.argmax(axis=-1) == one_hot_target.argmax(axis=-1)
    return float(np.count_nonzero(hits) / len(hits)) if len(hits) else float("nan")


def is_one_hot(target: Array) -> bool:
    """Whether every row of ``target`` has one 1 and else 0, in 2 columns or more."""
    if target.ndim != 2 or target.shape[1] < 2:
        return False
    return bool(((target == 0) | (target == 1)).all() and (target.sum(axis=1) == 1).all())

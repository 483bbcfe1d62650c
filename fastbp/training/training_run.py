"""What a training works with, whichever way it goes: the parts, the data, and the course it takes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple, Protocol

from fastbp.training.history import History
from fastbp.training.nonfinite import NonFiniteMonitor
from fastbp.training.schedule import Schedule
from fastbp.training.shuffle import EpochShuffler
from fastbp.validation.arrays import Array, guarded
from fastbp_kernels.network.arguments import Rows


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


def guarded_rows(rows: Rows) -> Rows:
    """Return the rows as functions of the user's may see them."""
    return Rows(*map(guarded, rows))


class Epochs(NamedTuple):
    """What finished epochs left, in the order of ``History``'s series."""

    train_loss: list[float]
    val_loss: list[float]
    val_accuracy: list[float]
    train_loss_mean: list[float]
    val_loss_mean: list[float]


@dataclass(slots=True)
class TrainingRun:
    """What a trainer is to do and whom it tells.

    Attributes
    ----------
    history : History
        Where the training stands; written.
    epochs : int
        How many the history is to have in the end.
    shuffler : EpochShuffler
    held : context manager
        Holds Ctrl-C back.
    monitor : NonFiniteMonitor or None
    require_unchanged : callable
        Raises RuntimeError if what is trained was changed since, where the training would go on.
    stops_at_epochs : bool
        Whether somebody looks at the model after each epoch.
    deadline : float
        The time, as ``time.perf_counter`` tells it, at which the training stops.
    schedule : Schedule or None
    clip_grad_norm : float or None
        What the norm of the gradient is clipped to.
    """

    history: History
    epochs: int
    shuffler: EpochShuffler = field(default_factory=lambda: EpochShuffler(None, 0))
    held: AbstractContextManager[None] = field(default_factory=nullcontext)
    monitor: NonFiniteMonitor | None = None
    require_unchanged: Callable[[], None] = lambda: None
    stops_at_epochs: bool = False
    deadline: float = inf
    schedule: Schedule | None = None
    clip_grad_norm: float | None = None

"""A scheduler that a training drives, after each epoch or after each mini-batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import numpy as np

from fastbp.optim.lr_scheduler.scheduler import LRScheduler
from fastbp.optim.optimizer import Optimizer
from fastbp.optim.parameter_group import ParameterGroup
from fastbp.training.history import History

Interval = Literal["epoch", "batch"]

_SCHEDULED = ("lr", "momentum", "betas")  # what a scheduler sets


class Part(NamedTuple):
    """What is trained of an epoch: a number of mini-batches, and whether the epoch is finished behind them."""

    batches: int
    finishes: bool


class Schedule:
    """A scheduler with its interval.

    Parameters
    ----------
    scheduler : LRScheduler
    interval : "epoch" or "batch"
    opt : Optimizer
        Whose learning rate it sets.
    """

    def __init__(self, scheduler: LRScheduler, interval: Interval, opt: Optimizer) -> None:
        self._scheduler, self._opt, self._by_batch = scheduler, opt, interval == "batch"
        self.stops_at_epochs = scheduler.needs_metrics

    def require_steps(self, history: History, epochs: int, batches: int | None) -> None:
        """Raise ValueError if the schedule ends before a training of so many ``epochs`` does.

        ``batches`` is the number of mini-batches in an epoch, or None where nobody knows it yet.
        """
        needed, left = epochs - history.epochs, self._scheduler.steps_left()
        if self._by_batch and batches is not None:
            needed = needed * batches - history.position.batches
        if left is not None and left < needed:
            raise ValueError(
                f"train_model takes a scheduler for the {needed} {'mini-batches' if self._by_batch else 'epochs'} that "
                f"are to come, got {type(self._scheduler).__name__} with {left} steps left; build it with more steps"
            )

    @property
    def within_epoch(self) -> Schedule | None:
        """What goes on within an epoch."""
        return self if self._by_batch else None

    def batch_done(self) -> None:
        """Go on after a mini-batch."""
        if self._by_batch:
            self._scheduler.step()

    def epoch_done(self, history: History) -> None:
        """Go on after an epoch that is in the history."""
        if self._scheduler.needs_metrics:
            losses = history["val_loss_mean"] or history["train_loss_mean"]
            self._scheduler.step(losses[-1])  # type: ignore[arg-type]
        elif not self._by_batch:
            self._scheduler.step()

    def look_ahead(self, parts: Sequence[Part]) -> tuple[Sequence[Mapping[str, Any]], Callable[[], None]]:
        """Return each group's settings for each of the next mini-batches, and what goes on to behind them.

        The scheduler works on copies of the groups meanwhile: nothing changes before the second is called.
        """
        scheduler, opt = self._scheduler, self._opt
        copies = [dict(group) for group in opt.param_groups]
        before = scheduler.state_dict()
        scheduler.bind(SimpleNamespace(param_groups=copies, settings=opt.settings))
        try:
            settings, counts = self._run(copies, parts)
            after = scheduler.state_dict()
        finally:
            scheduler.bind(opt)
            scheduler.load_state_dict(before)
        scheduled = [_arrays(group, column, counts) for group, column in zip(opt.param_groups, settings, strict=True)]

        def go_on() -> None:
            scheduler.load_state_dict(after)
            for group, own in zip(opt.param_groups, copies, strict=True):
                for name in _SCHEDULED:
                    if name in own and own[name] is not group[name]:
                        group.put(name, own[name])

        return scheduled, go_on

    def _run(self, groups: list[dict[str, Any]], parts: Sequence[Part]) -> tuple[list[list[Any]], list[int]]:
        """Return for each group its settings, and for how many mini-batches each of them holds."""
        step, by_batch = self._scheduler.step, self._by_batch
        names = [name for name in _SCHEDULED if name in groups[0]]
        columns: list[list[Any]] = [[] for _ in groups]
        counts: list[int] = []
        for part in parts:
            for _ in range(part.batches if by_batch else 1):
                for column, group in zip(columns, groups, strict=True):
                    column.append([group[name] for name in names])
                counts.append(1 if by_batch else part.batches)
                if by_batch:
                    step()
            if part.finishes and not by_batch and not self._scheduler.needs_metrics:
                step()
        return columns, counts


def _arrays(group: ParameterGroup, settings: list[Any], counts: list[int]) -> dict[str, Any]:
    """Return the settings as arrays of one for each mini-batch, checked as if they were set."""
    names = [name for name in _SCHEDULED if name in group]
    arrays: dict[str, Any] = {}
    for place, name in enumerate(names):
        values = np.repeat(np.array([row[place] for row in settings], np.float64), counts, axis=0)
        if len(values):
            for bound in (values.min(axis=0), values.max(axis=0)):
                group.checked(name, tuple(bound.tolist()) if bound.ndim else float(bound))
        arrays[name] = tuple(values.T) if values.ndim == 2 else values
    return arrays


def require_schedule(scheduler: Any, interval: Any, opt: Any) -> Schedule | None:
    """Return what drives ``scheduler``, or None without one.

    Raises
    ------
    TypeError, ValueError
        If it is no scheduler of ``opt``, or ``interval`` is none for it.
    """
    if interval not in ("epoch", "batch"):
        raise ValueError(f"train_model takes scheduler_interval 'epoch' or 'batch', got {interval!r}")
    if scheduler is None:
        return None
    if not isinstance(scheduler, LRScheduler):
        raise TypeError(
            f"train_model takes scheduler as one of fastbp.optim.lr_scheduler, got {type(scheduler).__name__}"
        )
    if scheduler.optimizer is not opt:
        raise ValueError(
            f"train_model takes a scheduler of the optimiser that it is given, got a {type(scheduler).__name__} of "
            "another one; build it over opt"
        )
    if scheduler.needs_metrics and interval == "batch":
        raise ValueError(
            f"train_model takes scheduler_interval='epoch' for {type(scheduler).__name__}, whose step takes an "
            "epoch's loss, got 'batch'"
        )
    return Schedule(scheduler, interval, opt)

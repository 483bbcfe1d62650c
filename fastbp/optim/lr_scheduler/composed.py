"""Schedules of schedules: one after the other, or all at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from fastbp.optim.lr_scheduler.scheduler import LRScheduler
from fastbp.optim.optimizer import Optimizer


class _Composed(LRScheduler):
    """A schedule of others over the same optimiser."""

    not_in_state: ClassVar[frozenset[str]] = frozenset(("optimizer", "_schedulers"))

    _schedulers: Sequence[LRScheduler]

    def _require_schedulers(self, optimizer: Any, schedulers: Sequence[LRScheduler]) -> None:
        name = type(self).__name__
        if not schedulers:
            raise ValueError(f"{name} takes one scheduler or more, got none")
        for number, scheduler in enumerate(schedulers):
            if not isinstance(scheduler, LRScheduler):
                raise TypeError(f"{name} takes schedulers of fastbp, got {type(scheduler).__name__} at {number}")
            if scheduler.needs_metrics:
                raise ValueError(f"{name} takes schedulers whose step takes no loss, got {type(scheduler).__name__}")
            if scheduler.optimizer is not optimizer:
                raise ValueError(f"{name} takes schedulers of its optimiser, got one of another at {number}")

    def bind(self, optimizer: Any) -> None:
        super().bind(optimizer)
        for scheduler in self._schedulers:
            scheduler.bind(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all, under "_schedulers", and what is beside them."""
        return {**super().state_dict(), "_schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


class SequentialLR(_Composed):
    """The next of ``schedulers`` from each of the ``milestones`` on, as ``torch.optim.lr_scheduler.SequentialLR``."""

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ) -> None:
        self._require_schedulers(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR takes a milestone between two schedulers each, {len(schedulers) - 1} for "
                f"{len(schedulers)}, got {len(milestones)}"
            )
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        _undo(self)  # each has taken its first step; only the one that begins does it again
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._begin()
        self._last_lr = first.get_last_lr()

    def steps_left(self) -> int | None:
        """Return those of the scheduler that is the last, once it is its turn."""
        is_last = bisect_right(self._milestones, self.last_epoch) == len(self._milestones)
        return self._schedulers[-1].steps_left() if is_last else None

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rates of the next epoch, or mini-batch, by the scheduler whose turn it is."""
        if epoch is not None:
            raise ValueError(f"SequentialLR.step takes no epoch, got {epoch}")
        following = self.last_epoch + 1
        turn = bisect_right(self._milestones, following)
        scheduler = self._schedulers[turn]
        if turn > 0 and self._milestones[turn - 1] == following:
            scheduler._update(0)
        else:
            scheduler.step()
        self.last_epoch = following
        self._last_lr = scheduler.get_last_lr()


def _undo(scheduler: LRScheduler) -> None:
    """Take the first step of a scheduler, or of all that it consists of, back."""
    if isinstance(scheduler, _Composed):
        for inner in scheduler._schedulers:
            _undo(inner)
    else:
        scheduler.last_epoch -= 1


class ChainedScheduler(_Composed):
    """All of ``schedulers`` at every step, as ``torch.optim.lr_scheduler.ChainedScheduler``."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        if optimizer is None and schedulers:
            optimizer = getattr(schedulers[0], "optimizer", None)
        self._require_schedulers(optimizer, schedulers)
        assert optimizer is not None
        self._schedulers, self.optimizer = list(schedulers), optimizer
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def _required(self) -> tuple[str, ...]:
        return ("_last_lr",)

    def steps_left(self) -> int | None:
        left = [steps for scheduler in self._schedulers if (steps := scheduler.steps_left()) is not None]
        return min(left, default=None)

    def step(self, epoch: int | None = None) -> None:
        """Take a step of each scheduler; where one has come to its end, of none."""
        if epoch is not None:
            raise ValueError(f"ChainedScheduler.step takes no epoch, got {epoch}")
        left = self.steps_left()
        if left is not None and left < 1:
            raise ValueError("ChainedScheduler takes no more steps, for one of its schedulers has come to its end")
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

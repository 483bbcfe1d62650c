"""What all schedules share: their place, the learning rates of the optimiser's groups, and a state dictionary."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fastbp.optim.optimizer import Optimizer
from fastbp.validation.scalars import is_number


class LRScheduler:
    """A schedule of the learning rate. Subclasses, also your own, define ``get_lr()``.

    Building one sets the optimiser's learning rates to those of the beginning.

    Parameters
    ----------
    optimizer : Optimizer
    last_epoch : int
        Where it goes on: the number of steps so far; -1 begins. It takes "initial_lr" in the optimiser's groups, where
        the first scheduler noted it.

    Attributes
    ----------
    optimizer : Optimizer
    base_lrs : list of float
        The learning rate of each group at the beginning.
    last_epoch : int
        The number of steps so far.
    """

    not_in_state: ClassVar[frozenset[str]] = frozenset(("optimizer",))

    needs_metrics: ClassVar[bool] = False  # whether ``step`` takes a loss

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        require_optimizer(self, optimizer)
        self.optimizer = optimizer
        groups = optimizer.param_groups
        for number, group in enumerate(groups):
            if last_epoch == -1 and "initial_lr" not in group:
                group["initial_lr"] = group["lr"]
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{type(self).__name__} with last_epoch={last_epoch} takes groups with 'initial_lr', and group "
                    f"{number} has none; load the optimiser's state first"
                )
        self.base_lrs = [group["initial_lr"] for group in groups]
        self.last_epoch = last_epoch
        self._begin()

    def _begin(self) -> None:
        """Take the first step, to the values of the beginning."""
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_lr(self) -> list[float]:
        """Return the learning rate of each group for ``last_epoch``, from those that the groups have."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_lr()")

    def _closed_form(self) -> list[float]:
        """Return the learning rates for ``last_epoch`` from those of the beginning."""
        return self.get_lr()

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group as the last step set it."""
        return list(self._last_lr)

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rates of the next epoch, or mini-batch; those of ``epoch`` if that is given.

        What raises changes nothing.
        """
        before = self.last_epoch, self._step_count
        try:
            self._step_count += 1
            self._update(epoch)
        except BaseException:
            self.last_epoch, self._step_count = before
            raise

    def _update(self, epoch: int | None = None) -> None:
        if epoch is None:
            self.last_epoch += 1
            values = self.get_lr()
        else:
            self.last_epoch = epoch
            values = self._closed_form()
        self._set(values)

    def _set(self, values: Sequence[float]) -> None:
        """Set the learning rates of the groups."""
        groups = self.optimizer.param_groups
        for group, lr in zip(groups, values, strict=True):
            group["lr"] = lr
        self._last_lr = [group["lr"] for group in groups]

    def steps_left(self) -> int | None:
        """Return how many steps there are up to the end, or None where there is none."""
        return None

    def bind(self, optimizer: Any) -> None:
        """Work on the ``param_groups`` of another object from now on."""
        self.optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        """Return all but the optimiser, as ``load_state_dict`` takes it."""
        return {name: copy.copy(value) for name, value in vars(self).items() if name not in self.not_in_state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take what ``state_dict`` of such a scheduler returned, here or in PyTorch; not the optimiser's state."""
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"{type(self).__name__}.load_state_dict takes a mapping, got {type(state_dict).__name__}")
        lacking = [name for name in self._required() if name not in state_dict]
        if lacking:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict takes {', '.join(self._required())}, got none for "
                f"{', '.join(lacking)}"
            )
        kept = {name: copy.copy(value) for name, value in state_dict.items() if name not in self.not_in_state}
        vars(self).update(kept)

    def _required(self) -> tuple[str, ...]:
        """Return what a state cannot be without."""
        return ("last_epoch", "_last_lr")


def require_optimizer(scheduler: LRScheduler, optimizer: Any) -> None:
    """Raise TypeError unless ``optimizer`` is one of fastbp."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{type(scheduler).__name__} takes an optimiser of fastbp.optim, got {type(optimizer).__name__}"
        )


def require_count(scheduler: LRScheduler, name: str, value: Any) -> None:
    """Raise ValueError unless ``value`` is an int of 1 or more."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{type(scheduler).__name__} takes {name} as an int of 1 or more, got {value!r}")


def require_within(scheduler: LRScheduler, name: str, value: Any, least: float, most: float) -> None:
    """Raise ValueError unless ``value`` is a number from ``least`` to ``most``."""
    if not is_number(value) or not least <= value <= most:
        raise ValueError(f"{type(scheduler).__name__} takes {name} from {least:g} to {most:g}, got {value!r}")


def one_for_each_group(scheduler: LRScheduler, name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """Return a list with an entry for each group: ``value`` itself, or one for all."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [value] * groups
    if len(value) != groups:
        raise ValueError(f"{type(scheduler).__name__} takes {name} for {groups} groups, got {len(value)}")
    return list(value)

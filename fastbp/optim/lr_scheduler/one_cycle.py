"""Once up and far down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from fastbp.optim.lr_scheduler.momentum import begin_momentum, set_momentum
from fastbp.optim.lr_scheduler.scheduler import (
    LRScheduler,
    one_for_each_group,
    require_count,
    require_optimizer,
    require_within,
)
from fastbp.optim.optimizer import Optimizer


class OneCycleLR(LRScheduler):
    """The 1cycle policy (Smith and Topin, 2018), as ``torch.optim.lr_scheduler.OneCycleLR``; for every mini-batch.

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float, or one for each group
    total_steps : int or None
        Of the whole training; None for ``epochs * steps_per_epoch``.
    epochs, steps_per_epoch : int or None
    pct_start : float
        The part of it in which the learning rate rises.
    anneal_strategy : "cos" or "linear"
    cycle_momentum : bool
        Whether the momentum, or beta1, goes the other way, from ``max_momentum`` to ``base_momentum`` and back.
    base_momentum, max_momentum : float, or one for each group
    div_factor : float
        It begins at ``max_lr / div_factor``.
    final_div_factor : float
        And ends at that divided by this.
    three_phase : bool
        Whether it falls to the beginning first, in as many steps as it rose.
    last_epoch : int
        As ``LRScheduler`` takes it.
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: float | list[float], total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos", cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85, max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0, final_div_factor: float = 1e4, three_phase: bool = False, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        require_optimizer(self, optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR takes total_steps, or epochs and steps_per_epoch, got neither")
            require_count(self, "epochs", epochs)
            require_count(self, "steps_per_epoch", steps_per_epoch)
            total_steps = epochs * steps_per_epoch
        require_count(self, "total_steps", total_steps)
        require_within(self, "pct_start", pct_start, 0, 1)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR takes anneal_strategy 'cos' or 'linear', got {anneal_strategy!r}")
        max_lrs = one_for_each_group(self, "max_lr", optimizer, max_lr)
        self.total_steps, self._anneal_func_type, self.cycle_momentum = total_steps, anneal_strategy, cycle_momentum
        self._schedule_phases = _phases(total_steps, pct_start, three_phase=three_phase)
        begins = last_epoch == -1
        if cycle_momentum:
            self.use_beta1 = begin_momentum(self, optimizer, base_momentum, max_momentum, begins=begins)
        if begins:
            for group, highest in zip(optimizer.param_groups, max_lrs, strict=True):
                group["initial_lr"], group["max_lr"] = highest / div_factor, highest
                group["min_lr"] = group["initial_lr"] / final_div_factor
        super().__init__(optimizer, last_epoch)

    def steps_left(self) -> int:
        return self.total_steps - self.last_epoch

    def step(self, epoch: int | None = None) -> None:
        """Set the learning rates of the next mini-batch.

        Raises
        ------
        ValueError
            Beyond ``total_steps``; nothing changes then.
        """
        target = self.last_epoch + 1 if epoch is None else epoch
        if target > self.total_steps:
            raise ValueError(f"OneCycleLR takes {self.total_steps} steps in all, its total_steps, got step {target}")
        super().step(epoch)

    def _set(self, values: Sequence[float]) -> None:
        """Set the learning rates; those behind the last mini-batch as they are: linear ones fall below 0 there."""
        if self.last_epoch < self.total_steps:
            super()._set(values)
            return
        for group, lr in zip(self.optimizer.param_groups, values, strict=True):
            put = getattr(group, "put", group.__setitem__)
            put("lr", lr)
        self._last_lr = list(values)

    def get_lr(self) -> list[float]:
        groups, step = self.optimizer.param_groups, self.last_epoch
        start, phases = 0.0, self._schedule_phases
        for phase in phases:
            end = phase["end_step"]
            if step <= end or phase is phases[-1]:
                break
            start = end
        part = (step - start) / (end - start) if end > start else 1.0
        if self.cycle_momentum:
            names = phase["start_momentum"], phase["end_momentum"]
            momentums = [self._between(group[names[0]], group[names[1]], part) for group in groups]
            set_momentum(groups, momentums, is_beta=self.use_beta1)
        return [self._between(group[phase["start_lr"]], group[phase["end_lr"]], part) for group in groups]

    def _between(self, start: float, end: float, part: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)


def _phases(total_steps: int, pct_start: float, *, three_phase: bool) -> list[dict[str, Any]]:
    """Return where each phase ends, and what it goes from and to."""
    rise = _phase(float(pct_start * total_steps) - 1, ("initial_lr", "max_lr"), ("max_momentum", "base_momentum"))
    if not three_phase:
        return [rise, _phase(total_steps - 1, ("max_lr", "min_lr"), ("base_momentum", "max_momentum"))]
    turn = float(2 * pct_start * total_steps) - 2
    fall = _phase(turn, ("max_lr", "initial_lr"), ("base_momentum", "max_momentum"))
    return [rise, fall, _phase(total_steps - 1, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum"))]


def _phase(end: float, lrs: tuple[str, str], momentums: tuple[str, str]) -> dict[str, Any]:
    names = {"start_lr": lrs[0], "end_lr": lrs[1], "start_momentum": momentums[0], "end_momentum": momentums[1]}
    return {"end_step": end, **names}

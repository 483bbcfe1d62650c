"""Up and down between two learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, ClassVar, Literal

from fastbp.optim.lr_scheduler.momentum import begin_momentum, set_momentum
from fastbp.optim.lr_scheduler.scheduler import LRScheduler, one_for_each_group, require_optimizer
from fastbp.optim.optimizer import Optimizer

_MODES = {"triangular": "cycle", "triangular2": "cycle", "exp_range": "iterations"}


class CyclicLR(LRScheduler):
    """Between ``base_lr`` and ``max_lr`` (Smith, 2017), as ``torch.optim.lr_scheduler.CyclicLR``; for every mini-batch.

    Parameters
    ----------
    optimizer : Optimizer
    base_lr, max_lr : float, or one for each group
    step_size_up, step_size_down : int
        Steps of each half of a cycle; None for as many down as up.
    mode : "triangular", "triangular2" or "exp_range"
        How the cycles' heights go on: they stay, halve, or are ``gamma ** step``.
    gamma : float
    scale_fn : callable or None
        A function of the cycle, or of the step, that takes the place of ``mode``.
    scale_mode : "cycle" or "iterations"
        What ``scale_fn`` is a function of.
    cycle_momentum : bool
        Whether the momentum, or beta1, goes the other way, from ``max_momentum`` to ``base_momentum``.
    base_momentum, max_momentum : float, or one for each group
    last_epoch : int
        As ``LRScheduler`` takes it.
    """

    not_in_state: ClassVar[frozenset[str]] = frozenset(("optimizer", "_scale_fn_custom", "_scale_fn_ref"))

    def __init__(
        self, optimizer: Optimizer, base_lr: float | list[float], max_lr: float | list[float],
        step_size_up: int = 2000, step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular", gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None, scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True, base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        require_optimizer(self, optimizer)
        if mode not in _MODES and scale_fn is None:
            raise ValueError(f"CyclicLR takes mode {', '.join(map(repr, _MODES))}, or a scale_fn, got {mode!r}")
        base_lrs = one_for_each_group(self, "base_lr", optimizer, base_lr)
        self.max_lrs = one_for_each_group(self, "max_lr", optimizer, max_lr)
        up = float(step_size_up)
        self.total_size = up + (up if step_size_down is None else float(step_size_down))
        self.step_ratio = up / self.total_size
        self.mode, self.gamma, self._scale_fn_custom = mode, gamma, scale_fn
        self.scale_mode = _MODES[mode] if scale_fn is None else scale_mode
        self.cycle_momentum = cycle_momentum
        begins = last_epoch == -1
        if cycle_momentum:
            self.use_beta1 = begin_momentum(self, optimizer, base_momentum, max_momentum, begins=begins)
            self.base_momentums = one_for_each_group(self, "base_momentum", optimizer, base_momentum)
            self.max_momentums = one_for_each_group(self, "max_momentum", optimizer, max_momentum)
        if begins:
            for group, lr in zip(optimizer.param_groups, base_lrs, strict=True):
                group["lr"] = lr
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """Return the height of the cycle, or of the step, ``x``."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        height: float = 1 / (2.0 ** (x - 1)) if self.mode == "triangular2" else self.gamma**x
        return height

    def get_lr(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            ranges = zip(self.base_momentums, self.max_momentums, strict=True)
            momentums = [high - (high - low) * height * scale for low, high in ranges]
            set_momentum(self.optimizer.param_groups, momentums, is_beta=self.use_beta1)
        return [low + (high - low) * height * scale for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Return all but the optimiser and a function; of an object that is called, its attributes."""
        own = self._scale_fn_custom
        kept = None if own is None or isinstance(own, FunctionType) else dict(vars(own))
        return {**super().state_dict(), "_scale_fn_custom": kept}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        attributes = state_dict.get("_scale_fn_custom")
        if attributes is not None:
            vars(self._scale_fn_custom).update(attributes)

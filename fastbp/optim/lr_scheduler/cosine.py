"""Schedules along a cosine (Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017)."""

from __future__ import annotations

import math

from fastbp.optim.lr_scheduler.scheduler import LRScheduler, require_count
from fastbp.optim.optimizer import Optimizer


class CosineAnnealingLR(LRScheduler):
    """Down to ``eta_min`` in ``T_max`` steps, as ``torch.optim.lr_scheduler.CosineAnnealingLR``."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        require_count(self, "T_max", T_max)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        groups, step, low = self.optimizer.param_groups, self.last_epoch, self.eta_min
        if self._is_initial:
            return [group["lr"] for group in groups]
        if self._step_count == 1 and step > 0:
            cosine = math.cos(step * math.pi / self.T_max)
            return [low + (base_lr - low) * (1 + cosine) / 2 for base_lr in self.base_lrs]
        if (step - 1 - self.T_max) % (2 * self.T_max) == 0:
            cosine = math.cos(math.pi / self.T_max)
            return [
                group["lr"] + (base_lr - low) * (1 - cosine) / 2
                for base_lr, group in zip(self.base_lrs, groups, strict=True)
            ]
        factor = (1 + math.cos(math.pi * step / self.T_max)) / (1 + math.cos(math.pi * (step - 1) / self.T_max))
        return [factor * (group["lr"] - low) + low for group in groups]

    def _closed_form(self) -> list[float]:
        cosine, low = math.cos(math.pi * self.last_epoch / self.T_max), self.eta_min
        return [low + (base_lr - low) * (1 + cosine) / 2 for base_lr in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Down to ``eta_min`` again and again, in ``T_0`` steps and then ``T_mult`` times as many.

    As ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts``.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        require_count(self, "T_0", T_0)
        require_count(self, "T_mult", T_mult)
        self.T_0 = self.T_i = T_0
        self.T_mult, self.eta_min = T_mult, eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        cosine, low = math.cos(math.pi * self.T_cur / self.T_i), self.eta_min
        return [low + (base_lr - low) * (1 + cosine) / 2 for base_lr in self.base_lrs]

    def _update(self, epoch: float | None = None) -> None:
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            self.last_epoch += 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            self._jump(epoch)
        self._set(self.get_lr())

    def _jump(self, epoch: float) -> None:
        """Go to a step, which may lie between two."""
        if epoch < 0:
            raise ValueError(f"CosineAnnealingWarmRestarts.step takes an epoch of 0 or more, got {epoch}")
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            restarts = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**restarts - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**restarts
        self.last_epoch = math.floor(epoch)

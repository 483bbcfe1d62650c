"""Down when the loss stays where it is."""

from __future__ import annotations

from math import inf
from typing import Any, ClassVar, Literal, SupportsFloat

from fastbp.optim.lr_scheduler.scheduler import LRScheduler, one_for_each_group, require_optimizer
from fastbp.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """``lr *= factor`` when a loss has not become better, as ``torch.optim.lr_scheduler.ReduceLROnPlateau``.

    Parameters
    ----------
    optimizer : Optimizer
    mode : "min" or "max"
        Whether the smaller loss is the better.
    factor : float
        Below 1.
    patience : int
        How many epochs may pass without a better loss.
    threshold : float
        By how much a loss must be better to count.
    threshold_mode : "rel" or "abs"
        Whether that is a part of the best loss, or a difference from it.
    cooldown : int
        Epochs after a reduction in which no epoch counts as a bad one.
    min_lr : float, or one for each group
        Below which no learning rate is taken.
    eps : float
        A smaller difference of learning rates is none.
    """

    needs_metrics: ClassVar[bool] = True

    def __init__(
        self, optimizer: Optimizer, mode: Literal["min", "max"] = "min", factor: float = 0.1, patience: int = 10,
        threshold: float = 1e-4, threshold_mode: Literal["rel", "abs"] = "rel", cooldown: int = 0,
        min_lr: float | list[float] = 0, eps: float = 1e-8,
    ) -> None:  # fmt: skip
        require_optimizer(self, optimizer)
        if not factor < 1:
            raise ValueError(f"ReduceLROnPlateau takes a factor below 1, got {factor!r}")
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau takes mode 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"ReduceLROnPlateau takes threshold_mode 'rel' or 'abs', got {threshold_mode!r}")
        self.min_lrs = one_for_each_group(self, "min_lr", optimizer, min_lr)
        self.default_min_lr = None if isinstance(min_lr, list | tuple) else min_lr
        self.optimizer = optimizer
        self.factor, self.patience, self.cooldown, self.eps = factor, patience, cooldown, eps
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.last_epoch = 0
        self._last_lr = [group["lr"] for group in optimizer.param_groups]
        self.best = self.mode_worse = inf if mode == "min" else -inf
        self.cooldown_counter = self.num_bad_epochs = 0

    def step(self, metrics: SupportsFloat | None = None, epoch: int | None = None) -> None:  # type: ignore[override]
        """Note the loss of an epoch, and set lower learning rates where it is time for that."""
        if metrics is None:
            raise TypeError("ReduceLROnPlateau.step takes the epoch's loss, got None; call step(val_loss)")
        current = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _is_better(self, current: float) -> bool:
        best, threshold = self.best, self.threshold
        if self.threshold_mode == "rel":
            return current < best * (1.0 - threshold) if self.mode == "min" else current > best * (threshold + 1.0)
        return current < best - threshold if self.mode == "min" else current > best + threshold

    def _reduce(self) -> None:
        groups: Any = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):  # one was added since
            if self.default_min_lr is None:
                raise RuntimeError(
                    f"ReduceLROnPlateau was given min_lr for {len(self.min_lrs)} groups, and the optimiser has "
                    f"{len(groups)} now; set min_lrs"
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, least in zip(groups, self.min_lrs, strict=True):
            before = float(group["lr"])
            after = max(before * self.factor, least)
            if before - after > self.eps:
                group["lr"] = after

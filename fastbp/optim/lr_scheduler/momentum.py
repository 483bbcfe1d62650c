"""What schedules that cycle the momentum share: it is "momentum" of a group, or the first of its "betas"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastbp.optim.lr_scheduler.scheduler import LRScheduler, one_for_each_group
from fastbp.optim.optimizer import Optimizer


def begin_momentum(scheduler: LRScheduler, optimizer: Optimizer, base: Any, largest: Any, *, begins: bool) -> bool:
    """Note the momentum's range in the groups and set the largest, if it ``begins``; return whether it is beta1.

    Raises
    ------
    ValueError
        If the optimiser has no momentum, or the ranges are not for its groups.
    """
    if "momentum" not in optimizer.settings and "betas" not in optimizer.settings:
        raise ValueError(
            f"{type(scheduler).__name__} takes an optimiser with momentum or betas, got {type(optimizer).__name__}; "
            "pass cycle_momentum=False"
        )
    is_beta = "betas" in optimizer.settings
    bases = one_for_each_group(scheduler, "base_momentum", optimizer, base)
    ends = one_for_each_group(scheduler, "max_momentum", optimizer, largest)
    if begins:
        set_momentum(optimizer.param_groups, ends, is_beta=is_beta)
        for group, low, high in zip(optimizer.param_groups, bases, ends, strict=True):
            group["max_momentum"], group["base_momentum"] = high, low
    return is_beta


def set_momentum(groups: Sequence[Any], values: Sequence[float], *, is_beta: bool) -> None:
    """Set the momentum of each group."""
    for group, value in zip(groups, values, strict=True):
        if is_beta:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value

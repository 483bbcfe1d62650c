"""RAdam."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from fastbp.optim.adam import decay_of
from fastbp.optim.optimizer import Columns, Optimizer
from fastbp.optim.setting import Setting, flag, not_negative, two_betas
from fastbp.optim.step_counts import ScalarRow
from fastbp.validation.arrays import Array


class RAdam(Optimizer):
    """Adam with rectified steps (Liu et al., 2020), as ``torch.optim.RAdam``.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, decoupled_weight_decay, maximize, **options
        As ``Adam`` takes them.
    """

    row = "RAdam"
    lr = Setting(1e-3, not_negative)
    betas = Setting((0.9, 0.999), two_betas)
    eps = Setting(1e-8, not_negative)
    weight_decay = Setting(0, not_negative)
    decoupled_weight_decay = Setting(False, flag)
    maximize = Setting(False, flag)
    neutral_options: ClassVar[Mapping[str, Any]] = {"foreach": None, "capturable": False, "differentiable": False}

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, decoupled_weight_decay: bool = False, *, maximize: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        settings |= {"decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize}
        super().__init__(params, settings, options)

    def _columns(self, settings: Mapping[str, Any], numbers: Array, row: ScalarRow) -> Columns:
        one, two = settings["betas"]
        power = np.power(two, numbers)
        correction = 1 - power
        most = 2 / (1 - two) - 1  # the length of the moving average, as the steps go on
        length = most - 2 * numbers * power / correction
        is_rectified = length > 5.0
        used = np.where(is_rectified, length, most)  # the root is of no negative number
        with np.errstate(invalid="ignore", divide="ignore"):  # where no step is ever rectified
            factor = ((used - 4) * (used - 2) * most / ((most - 4) * (most - 2) * used)) ** 0.5 * correction**0.5
        step_size = settings["lr"] / (1 - np.power(one, numbers)) * np.where(is_rectified, factor, 1.0)
        return 1 - one, two, 1 - two, step_size, is_rectified, settings["eps"], *decay_of(settings)

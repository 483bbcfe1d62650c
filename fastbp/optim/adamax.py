"""Adamax."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from fastbp.optim.optimizer import Columns, Optimizer
from fastbp.optim.setting import Setting, flag, not_negative, two_betas
from fastbp.optim.step_counts import ScalarRow
from fastbp.validation.arrays import Array


class Adamax(Optimizer):
    """Adam by the largest gradient so far (Kingma and Ba, 2015), as ``torch.optim.Adamax``.

    Parameters
    ----------
    params, lr, weight_decay, maximize, **options
        As ``Adam`` takes them.
    betas : tuple of two floats
        How much of the average gradient and of the largest one a step keeps; from 0 up to, but not, 1.
    eps : float
        Added to each gradient's magnitude, 0 or more.
    """

    row = "Adamax"
    lr = Setting(2e-3, not_negative)
    betas = Setting((0.9, 0.999), two_betas)
    eps = Setting(1e-8, not_negative)
    weight_decay = Setting(0, not_negative)
    maximize = Setting(False, flag)
    neutral_options: ClassVar[Mapping[str, Any]] = {"foreach": None, "differentiable": False, "capturable": False}

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, *, maximize: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, settings, options)

    def _columns(self, settings: Mapping[str, Any], numbers: Array, row: ScalarRow) -> Columns:
        one, two = settings["betas"]
        step_size, sign = settings["lr"] / (1 - np.power(one, numbers)), -1.0 if settings["maximize"] else 1.0
        return 1 - one, two, step_size, settings["eps"], sign, settings["weight_decay"]

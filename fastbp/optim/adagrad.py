"""Adagrad."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from fastbp.optim.optimizer import Columns, Optimizer
from fastbp.optim.parameter_group import ParameterGroup
from fastbp.optim.setting import Setting, flag, not_negative
from fastbp.optim.step_counts import ScalarRow
from fastbp.validation.arrays import Array


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of squared gradients (Duchi et al., 2011), as ``torch.optim.Adagrad``.

    Parameters
    ----------
    params, weight_decay, maximize, **options
        As ``Adam`` takes them.
    lr : float
        Learning rate, 0 or more.
    lr_decay : float
        The n-th step's learning rate is ``lr / (1 + (n - 1) * lr_decay)``; 0 or more.
    initial_accumulator_value : float
        Where the sum of squares begins, 0 or more. That of the first group counts for all of them in PyTorch; here
        each has its own.
    eps : float
        Added to the root, 0 or more.
    """

    row = "Adagrad"
    lr = Setting(1e-2, not_negative)
    lr_decay = Setting(0, not_negative)
    eps = Setting(1e-10, not_negative)
    weight_decay = Setting(0, not_negative)
    initial_accumulator_value = Setting(0, not_negative)
    maximize = Setting(False, flag)
    neutral_options: ClassVar[Mapping[str, Any]] = {"foreach": None, "differentiable": False, "fused": None}

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, *, maximize: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        settings = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        settings |= {"initial_accumulator_value": initial_accumulator_value, "maximize": maximize}
        super().__init__(params, settings, options)

    def initial_state(self, group: ParameterGroup) -> dict[str, float]:
        return {"sum": group["initial_accumulator_value"]}

    def _columns(self, settings: Mapping[str, Any], numbers: Array, row: ScalarRow) -> Columns:
        step_size = settings["lr"] / (1 + (numbers - 1) * settings["lr_decay"])
        initial = np.where(numbers == 1, settings["initial_accumulator_value"], 0.0)
        sign = -1.0 if settings["maximize"] else 1.0
        return step_size, initial, settings["eps"], sign, settings["weight_decay"]

"""Adadelta."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from fastbp.optim.optimizer import Columns, Optimizer
from fastbp.optim.setting import Setting, flag, not_negative, up_to_one
from fastbp.optim.step_counts import ScalarRow
from fastbp.validation.arrays import Array


class Adadelta(Optimizer):
    """Steps as large as those before (Zeiler, 2012), as ``torch.optim.Adadelta``.

    Parameters
    ----------
    params, weight_decay, maximize, **options
        As ``Adam`` takes them.
    lr : float
        A factor of each step, 0 or more.
    rho : float
        How much of the averages of the gradient's and the step's square a step keeps, from 0 to 1.
    eps : float
        Added to both under the root, 0 or more.
    """

    row = "Adadelta"
    lr = Setting(1.0, not_negative)
    rho = Setting(0.9, up_to_one)
    eps = Setting(1e-6, not_negative)
    weight_decay = Setting(0, not_negative)
    maximize = Setting(False, flag)
    neutral_options: ClassVar[Mapping[str, Any]] = {"capturable": False, "foreach": None, "differentiable": False}

    def __init__(
        self, params: Iterable[Any], lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0, *,
        maximize: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        settings = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, settings, options)

    def _is_constant(self) -> bool:
        return True

    def _columns(self, settings: Mapping[str, Any], numbers: Array, row: ScalarRow) -> Columns:
        rho, sign = settings["rho"], -1.0 if settings["maximize"] else 1.0
        return settings["lr"], rho, 1 - rho, settings["eps"], sign, settings["weight_decay"]

"""Lion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from fastbp.optim.optimizer import Columns, Optimizer
from fastbp.optim.setting import Setting, flag, not_negative, two_betas
from fastbp.optim.step_counts import ScalarRow
from fastbp.validation.arrays import Array


class Lion(Optimizer):
    """Steps by the sign of an average of gradients: Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023.

    ``parameter -= lr * (sign(beta1 * exp_avg + (1 - beta1) * grad) + weight_decay * parameter)``, and then
    ``exp_avg = beta2 * exp_avg + (1 - beta2) * grad``. PyTorch has no optimiser of this name.

    Parameters
    ----------
    params, maximize
        As ``Adam`` takes them.
    lr : float
        Learning rate, 0 or more: the length of each step. The paper takes a third to a tenth of that of AdamW.
    betas : tuple of two floats
        How much of the average the direction of a step takes, and how much of it a step keeps; from 0 up to, but not,
        1.
    weight_decay : float
        ``lr * weight_decay`` of each parameter is taken off, 0 or more.
    """

    row = "Lion"
    counts_steps = False
    lr = Setting(1e-4, not_negative)
    betas = Setting((0.9, 0.99), two_betas)
    weight_decay = Setting(0, not_negative)
    maximize = Setting(False, flag)
    neutral_options: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0, *, maximize: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        settings = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, settings, options)

    def _is_constant(self) -> bool:
        return True

    def _columns(self, settings: Mapping[str, Any], numbers: Array, row: ScalarRow) -> Columns:
        lr, (one, two), sign = settings["lr"], settings["betas"], -1.0 if settings["maximize"] else 1.0
        return lr, one, 1 - one, two, 1 - two, sign, 1 - lr * settings["weight_decay"]

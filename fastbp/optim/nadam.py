"""NAdam."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from fastbp.optim.adam import decay_of
from fastbp.optim.optimizer import Columns, Optimizer
from fastbp.optim.setting import Setting, flag, not_negative, two_betas
from fastbp.optim.step_counts import ScalarRow
from fastbp.validation.arrays import Array


class NAdam(Optimizer):
    """Adam with Nesterov momentum (Dozat, 2016), as ``torch.optim.NAdam``.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay, decoupled_weight_decay, maximize, **options
        As ``Adam`` takes them.
    momentum_decay : float
        How fast the momentum grows to the first of the ``betas``, 0 or more.
    """

    row = "NAdam"
    lr = Setting(2e-3, not_negative)
    betas = Setting((0.9, 0.999), two_betas)
    eps = Setting(1e-8, not_negative)
    weight_decay = Setting(0, not_negative)
    momentum_decay = Setting(4e-3, not_negative)
    decoupled_weight_decay = Setting(False, flag)
    maximize = Setting(False, flag)
    neutral_options: ClassVar[Mapping[str, Any]] = {"foreach": None, "capturable": False, "differentiable": False}

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
        maximize: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        settings |= {"momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, {**settings, "maximize": maximize}, options)

    def _columns(self, settings: Mapping[str, Any], numbers: Array, row: ScalarRow) -> Columns:
        (one, two), decay, lr = settings["betas"], settings["momentum_decay"], settings["lr"]
        mu = one * (1.0 - 0.5 * np.power(0.96, numbers * decay))
        mu_next = one * (1.0 - 0.5 * np.power(0.96, (numbers + 1) * decay))
        factors = np.concatenate([[row.mu_product], mu]).astype(np.float32)  # in which PyTorch keeps the product
        products = np.multiply.accumulate(factors)[1:].astype(np.float64)
        row.mu_products = products
        grad_step, avg_step = lr * (1.0 - mu) / (1.0 - products), lr * mu_next / (1.0 - products * mu_next)
        correction = 1 - np.power(two, numbers)
        return 1 - one, two, 1 - two, correction, grad_step, avg_step, settings["eps"], *decay_of(settings)

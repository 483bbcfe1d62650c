"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fastbp.optim.optimizer import Columns, Optimizer
from fastbp.optim.setting import Setting, flag, not_negative, two_betas
from fastbp.optim.step_counts import ScalarRow
from fastbp.validation.arrays import Array


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), as ``torch.optim.Adam``.

    Parameters
    ----------
    params : iterable of Parameter, or of groups
        As ``SGD`` takes them.
    lr : float
        Learning rate, 0 or more.
    betas : tuple of two floats
        How much of the averages of the gradient and of its square a step keeps; from 0 up to, but not, 1.
    eps : float
        Added to the root of the average square, 0 or more.
    weight_decay : float
        This times each parameter is added to its gradient, 0 or more.
    amsgrad : bool
        Whether to divide by the largest average square so far.
    maximize : bool
        Whether to go up instead of down.
    decoupled_weight_decay : bool
        Whether ``lr * weight_decay`` of each parameter is taken off instead, as by ``AdamW``.
    **options
        PyTorch's other options at the values that change nothing, as for ``SGD``.
    """

    row = "Adam"
    lr = Setting(1e-3, not_negative)
    betas = Setting((0.9, 0.999), two_betas)
    eps = Setting(1e-8, not_negative)
    weight_decay = Setting(0, not_negative)
    amsgrad = Setting(False, flag)
    maximize = Setting(False, flag)
    decoupled_weight_decay = Setting(False, flag)
    neutral_options: ClassVar[Mapping[str, Any]] = {
        "foreach": None, "capturable": False, "differentiable": False, "fused": None,
    }  # fmt: skip

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, maximize: bool = False,
        decoupled_weight_decay: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        settings |= {"maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, settings, options)

    def _row(self, settings: Sequence[Mapping[str, Any]]) -> str:
        return f"{self.row}:amsgrad" if any(own["amsgrad"] for own in settings) else self.row

    def _columns(self, settings: Mapping[str, Any], numbers: Array, row: ScalarRow) -> Columns:
        one, two = settings["betas"]
        step_size = settings["lr"] / (1 - np.power(one, numbers))
        correction = np.sqrt(1 - np.power(two, numbers))
        return 1 - one, two, 1 - two, step_size, correction, settings["eps"], *decay_of(settings), settings["amsgrad"]


def decay_of(settings: Mapping[str, Any]) -> Columns:
    """Return the scalars "sign", "weight decay" and "kept"."""
    sign, decay = -1.0 if settings["maximize"] else 1.0, settings["weight_decay"]
    if settings["decoupled_weight_decay"]:
        return sign, 0.0, 1 - settings["lr"] * decay
    return sign, decay, 1.0


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as ``torch.optim.AdamW``.

    ``parameter -= lr * weight_decay * parameter`` comes before the step of Adam, whose parameters it takes; there is
    no other decay.
    """

    row = "AdamW"
    weight_decay = Setting(1e-2, not_negative)
    decoupled_weight_decay = Setting(True, flag)

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True, **options
        )

    def _require_group(self, settings: Mapping[str, Any]) -> None:
        if not settings["decoupled_weight_decay"]:
            raise ValueError("AdamW takes decoupled_weight_decay=True, got False; take Adam for the other decay")

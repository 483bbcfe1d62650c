"""Rprop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from fastbp.optim.optimizer import Columns, Optimizer
from fastbp.optim.setting import Setting, flag, not_negative, two_etas, two_step_sizes
from fastbp.optim.step_counts import ScalarRow
from fastbp.validation.arrays import Array


class Rprop(Optimizer):
    """Steps by the sign of the gradient, of a size for each parameter (Riedmiller and Braun, 1993).

    As ``torch.optim.Rprop``; for full batches.

    Parameters
    ----------
    params, maximize, **options
        As ``Adam`` takes them.
    lr : float
        The size of the first step, 0 or more.
    etas : tuple of two floats
        Factors of a step's size where the gradient turns (between 0 and 1) and where it does not (above 1).
    step_sizes : tuple of two floats
        The least and the largest size of a step, 0 or more.
    """

    row = "Rprop"
    lr = Setting(1e-2, not_negative)
    etas = Setting((0.5, 1.2), two_etas)
    step_sizes = Setting((1e-6, 50), two_step_sizes)
    maximize = Setting(False, flag)
    neutral_options: ClassVar[Mapping[str, Any]] = {"foreach": None, "differentiable": False, "capturable": False}

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50), *, maximize: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize}, options)

    def _columns(self, settings: Mapping[str, Any], numbers: Array, row: ScalarRow) -> Columns:
        sign = -1.0 if settings["maximize"] else 1.0
        return *settings["etas"], *settings["step_sizes"], settings["lr"], numbers == 1, sign

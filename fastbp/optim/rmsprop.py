"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from fastbp.optim.optimizer import Columns, Optimizer
from fastbp.optim.setting import Setting, flag, not_negative
from fastbp.optim.step_counts import ScalarRow
from fastbp.validation.arrays import Array


class RMSprop(Optimizer):
    """Steps divided by the root of the average squared gradient (Tieleman and Hinton, 2012).

    As ``torch.optim.RMSprop``.

    Parameters
    ----------
    params : iterable of Parameter, or of groups
        As ``SGD`` takes them.
    lr : float
        Learning rate, 0 or more.
    alpha : float
        How much of the average square a step keeps, 0 or more.
    eps : float
        Added to its root, 0 or more.
    weight_decay : float
        This times each parameter is added to its gradient, 0 or more.
    momentum : float
        How much of the last step is kept, 0 or more.
    centered : bool
        Whether the square of the average gradient is taken off the average square (Graves, 2013).
    maximize : bool
        Whether to go up instead of down.
    **options
        PyTorch's other options at the values that change nothing, as for ``SGD``.
    """

    row = "RMSprop"
    lr = Setting(1e-2, not_negative)
    momentum = Setting(0, not_negative)
    alpha = Setting(0.99, not_negative)
    eps = Setting(1e-8, not_negative)
    centered = Setting(False, flag)
    weight_decay = Setting(0, not_negative)
    maximize = Setting(False, flag)
    neutral_options: ClassVar[Mapping[str, Any]] = {"capturable": False, "foreach": None, "differentiable": False}

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
        momentum: float = 0, centered: bool = False, *, maximize: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        settings = {"lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered}
        super().__init__(params, {**settings, "weight_decay": weight_decay, "maximize": maximize}, options)

    def _row(self, settings: Sequence[Mapping[str, Any]]) -> str:
        needed = [name for name in ("centered", "momentum") if any(own[name] for own in settings)]
        return f"{self.row}:{','.join(needed)}" if needed else self.row

    def _is_constant(self) -> bool:
        return True

    def _columns(self, settings: Mapping[str, Any], numbers: Array, row: ScalarRow) -> Columns:
        alpha, sign = settings["alpha"], -1.0 if settings["maximize"] else 1.0
        return (
            settings["lr"], alpha, 1 - alpha, settings["eps"], settings["momentum"], settings["centered"], sign,
            settings["weight_decay"],
        )  # fmt: skip

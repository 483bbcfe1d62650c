"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from fastbp.optim.optimizer import Columns, Optimizer
from fastbp.optim.setting import Setting, any_finite, flag, not_negative
from fastbp.optim.step_counts import ScalarRow
from fastbp.validation.arrays import Array


class SGD(Optimizer):
    """Stochastic gradient descent, ``parameter -= lr * grad``, with momentum if that is set; as ``torch.optim.SGD``.

    Parameters
    ----------
    params : iterable of Parameter, or of groups
        Parameters of modules, such as ``model.parameters()``, or mappings with "params" and settings of their own:
        ``[{"params": body.parameters()}, {"params": head.parameters(), "lr": 0.1}]``.
    lr : float
        Learning rate, 0 or more.
    momentum : float
        How much of the last step's direction is kept, 0 or more.
    dampening : float
        How much of the gradient is left out of that direction from the second step on.
    weight_decay : float
        This times each parameter is added to its gradient, 0 or more.
    nesterov : bool
        Whether the gradient is looked at where the momentum leads; takes a momentum and no dampening.
    maximize : bool
        Whether to go up instead of down.
    **options
        PyTorch's other options at the values that change nothing: False or None. So a call that spells them out runs as
        it is, and one that needs them raises ValueError.
    """

    row = "SGD"
    counts_steps = False
    lr = Setting(1e-3, not_negative)
    momentum = Setting(0, not_negative)
    dampening = Setting(0, any_finite)
    weight_decay = Setting(0, not_negative)
    nesterov = Setting(False, flag)
    maximize = Setting(False, flag)
    neutral_options: ClassVar[Mapping[str, Any]] = {"foreach": None, "differentiable": False, "fused": None}

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0, dampening: float = 0,
        weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        settings = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "nesterov": nesterov, "maximize": maximize}, options)

    def _require_group(self, settings: Mapping[str, Any]) -> None:
        if settings["nesterov"] and (not settings["momentum"] or settings["dampening"]):
            raise ValueError(
                "SGD takes nesterov=True with a momentum and no dampening, got "
                f"momentum={settings['momentum']!r}, dampening={settings['dampening']!r}"
            )

    def _row(self, settings: Sequence[Mapping[str, Any]]) -> str:
        if any(own["momentum"] for own in settings):
            return "SGD:momentum"
        return "SGD:decay" if any(own["weight_decay"] or own["maximize"] for own in settings) else "SGD"

    def _is_constant(self) -> bool:
        return not any(group["momentum"] for group in self.param_groups)

    def _columns(self, settings: Mapping[str, Any], numbers: Array, row: ScalarRow) -> Columns:
        lr, sign, decay = settings["lr"], -1.0 if settings["maximize"] else 1.0, settings["weight_decay"]
        name = self._row([group.values_by_name for group in self.param_groups])
        if name == "SGD":
            return (lr,)
        if name == "SGD:decay":
            return lr, sign, decay
        new = 1 - settings["dampening"]
        return lr, sign, decay, settings["momentum"], new, settings["nesterov"], numbers == 1

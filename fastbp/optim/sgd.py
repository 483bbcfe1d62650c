"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from fastbp.nn.parameter import Parameter
from fastbp.optim.optimizer import Optimizer
from fastbp.validation.arrays import Array


class SGD(Optimizer):
    """Stochastic gradient descent, ``parameter -= lr * grad``, as ``torch.optim.SGD`` without momentum.

    Parameters
    ----------
    params : iterable of Parameter, or one group
        Parameters of modules, such as ``model.parameters()``. In PyTorch's form of groups there can be one:
        ``[{"params": model.parameters(), "lr": 0.1}]``.
    lr : float
        Learning rate, 0 or more.
    **options
        PyTorch's other options, such as ``momentum`` and ``weight_decay``, at the values that change nothing: 0, False
        or None. So a call that spells them out runs as it is, and one that needs them raises ValueError.
    """

    row = "SGD"
    settings = ("lr",)
    neutral_options: ClassVar[Mapping[str, Any]] = {
        "momentum": 0,
        "dampening": 0,
        "weight_decay": 0,
        "nesterov": False,
        "maximize": False,
        "foreach": None,
        "differentiable": False,
        "fused": None,
    }
    formula = "parameter -= lr * grad"

    def __init__(self, params: Iterable[Parameter], lr: float = 1e-3, **options: Any) -> None:
        super().__init__(params, {"lr": lr}, options)
        self._last_scalars: tuple[float, Any, Array] = -1.0, None, np.empty(0)

    def scalars(self, steps: int) -> Array:
        return np.array([[self._lr]])

    def _step_scalars(self, dtype: np.dtype[Any]) -> Array:
        lr, of, scalars = self._last_scalars
        if lr is not self._lr or of is not dtype:  # made once, for small steps are many
            scalars = super()._step_scalars(dtype)
            self._last_scalars = self._lr, dtype, scalars
        return scalars

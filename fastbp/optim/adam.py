"""Adam."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from fastbp.nn.parameter import Parameter
from fastbp.optim.optimizer import Optimizer
from fastbp.validation.arrays import Array
from fastbp.validation.scalars import require_finite


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), as ``torch.optim.Adam`` without ``amsgrad``.

    Parameters
    ----------
    params : iterable of Parameter, or one group
        As ``SGD`` takes them.
    lr : float
        Learning rate, 0 or more.
    betas : tuple of two floats
        How much of the averages of the gradient and of its square a step keeps; from 0 up to, but not, 1.
    eps : float
        Added to the root of the average square, 0 or more.
    weight_decay : float
        This times each parameter is added to its gradient, 0 or more.
    **options
        PyTorch's other options at the values that change nothing, as for ``SGD``.
    """

    row = "Adam"
    settings = ("lr", "betas", "eps", "weight_decay")
    neutral_options: ClassVar[Mapping[str, Any]] = {
        "amsgrad": False,
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "fused": None,
        "decoupled_weight_decay": False,
    }
    formula = "Adam's step alone"

    def __init__(
        self, params: Iterable[Parameter], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8, weight_decay: float = 0.0, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}, options)

    @property
    def betas(self) -> tuple[float, float]:
        """What a step keeps of the two averages; may be set between steps."""
        return self._betas

    @betas.setter
    def betas(self, betas: tuple[float, float]) -> None:
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise TypeError(f"Adam takes betas as a tuple of two numbers, got {betas!r}")
        one, two = (require_finite(beta, "Adam", "beta", least=0) for beta in betas)
        if not (one < 1 and two < 1):
            raise ValueError(f"Adam takes betas below 1, got {betas!r}")
        self._betas = one, two

    @property
    def eps(self) -> float:
        """What is added to the root of the average square; may be set between steps."""
        return self._eps

    @eps.setter
    def eps(self, eps: float) -> None:
        self._eps = self._require_setting(eps, "eps")

    @property
    def weight_decay(self) -> float:
        """The factor of the parameters that are added to their gradients; may be set between steps."""
        return self._weight_decay

    @weight_decay.setter
    def weight_decay(self, weight_decay: float) -> None:
        self._weight_decay = self._require_setting(weight_decay, "weight_decay")

    def scalars(self, steps: int) -> Array:
        one, two = self._betas
        numbers = np.arange(self._steps + 1, self._steps + steps + 1, dtype=np.float64)
        rows = np.empty((steps, 7))
        rows[:, :3] = 1 - one, two, 1 - two
        rows[:, 3] = self._lr / (1 - np.power(one, numbers))
        rows[:, 4] = np.sqrt(1 - np.power(two, numbers))
        rows[:, 5:] = self._eps, self._weight_decay
        return rows

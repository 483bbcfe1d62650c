"""scikit-learn's two stochastic optimisers, as steps of the engine.

Each holds an optimiser of ``fastbp.optim`` whose scalars are found as scikit-learn's formulas need them, and the course
of the learning rate, which scikit-learn keeps in its optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import is_
from typing import Any

import numpy as np

from fastbp.nn.module import Module
from fastbp.nn.parameter import FlatView, Parameter
from fastbp.optim.adam import Adam
from fastbp.optim.optimizer import Columns
from fastbp.optim.optimizer import Optimizer as Steps
from fastbp.optim.setting import Setting
from fastbp.optim.sgd import SGD
from fastbp.optim.step_counts import ScalarRow
from fastbp.validation.arrays import Array

_SMALLEST_RATE = 1e-6  # of "adaptive": below it, the training stops


class BaseOptimizer:
    """Steps at a learning rate that stays as it is.

    Parameters
    ----------
    learning_rate_init : float
    params : iterable of Parameter
    build : callable, or None
        Returns an optimiser of ``fastbp.optim`` for parameters.

    Attributes
    ----------
    learning_rate : float
    steps : Optimizer, or None
    """

    def __init__(
        self, learning_rate_init: float = 0.1, params: Iterable[Parameter] = (),
        build: Callable[[list[Parameter]], Steps] | None = None,
    ) -> None:  # fmt: skip
        self.learning_rate_init = learning_rate_init
        self._params, self._build = list(params), build
        self.steps = None if build is None else build(self._params)
        self._rate = float(learning_rate_init)
        self._flat: FlatView | None = None  # of the parameters, once they were those of a network

    def follow(self, model: Module) -> bool:
        """Go on with this network's parameters in the place of those before; return False if their number is another.

        Raises
        ------
        ValueError
            If their shapes are others.
        TypeError
            If an optimiser of the user's own cannot hand its state on.
        """
        flat = model._current()
        if flat is self._flat:
            return True
        before, params = self._params, list(model.parameters())
        if len(before) != len(params) and self._build is not None:
            return False
        if self._build is None or all(map(is_, before, params)):
            self._flat = flat
            return True
        if not hasattr(self.steps, "load_state_dict"):
            raise TypeError(
                "optimizer needs state_dict() and load_state_dict() to go on with coefs_ or settings that were "
                f"replaced, got {self.steps!r}; call fit instead of partial_fit"
            )
        assert self.steps is not None
        steps = self._build(params)
        steps.load_state_dict(self.steps.state_dict())
        self.steps, self._params, self._flat = steps, params, flat
        return True

    @property
    def learning_rate(self) -> float:
        return self._rate

    def iteration_ends(self, time_step: int) -> None:
        """Go on after an epoch, when ``time_step`` samples have been trained."""

    def rates_ahead(self, time_step: int, samples: int, epochs: int) -> list[float] | None:
        """Return the learning rates of the next epochs, each of so many ``samples``; None where they are all alike."""
        return None

    def trigger_stopping(self, message: str, verbose: object) -> bool:
        """Return whether the training stops, where it does not become better; ``message`` tells why."""
        if verbose:
            print(f"{message} Stopping.")
        return True


class SGDOptimizer(BaseOptimizer):
    """Gradient descent with a velocity: ``v = momentum v - lr grad``, and ``momentum v - lr grad`` again for Nesterov.

    The learning rate is a part of the velocity, which tells where it changes; PyTorch multiplies by it afterwards.

    Parameters
    ----------
    params : iterable of Parameter
    learning_rate_init, lr_schedule, momentum, nesterov, power_t
        As the estimators take them.
    """

    def __init__(
        self, params: Iterable[Parameter], learning_rate_init: float = 0.1, lr_schedule: str = "constant",
        momentum: float = 0.9, nesterov: bool = True, power_t: float = 0.5,
    ) -> None:  # fmt: skip
        build = partial(_Velocity, lr=learning_rate_init, momentum=momentum, nesterov=bool(nesterov))
        super().__init__(learning_rate_init, params, build)
        self.lr_schedule, self.power_t = lr_schedule, power_t

    def iteration_ends(self, time_step: int) -> None:
        if self.lr_schedule == "invscaling":
            self._set_rate(self._scaled(time_step))

    def rates_ahead(self, time_step: int, samples: int, epochs: int) -> list[float] | None:
        if self.lr_schedule != "invscaling":
            return None
        return [self.learning_rate, *(self._scaled(time_step + n * samples) for n in range(1, epochs))]

    def trigger_stopping(self, message: str, verbose: object) -> bool:
        if self.lr_schedule != "adaptive":
            return super().trigger_stopping(message, verbose)
        if self.learning_rate <= _SMALLEST_RATE:
            return super().trigger_stopping(f"{message} Learning rate too small.", verbose)
        self._set_rate(self.learning_rate / 5.0)
        if verbose:
            print(f"{message} Setting learning rate to {self.learning_rate:f}")
        return False

    def _scaled(self, time_step: int) -> float:
        rate: float = float(self.learning_rate_init) / (time_step + 1) ** self.power_t
        return rate

    def _set_rate(self, rate: float) -> None:
        assert self.steps is not None
        self._rate = self.steps.lr = rate


class AdamOptimizer(BaseOptimizer):
    """Adam as Kingma and Ba write it at the end of their section 2: epsilon is added before the corrections.

    Parameters
    ----------
    params : iterable of Parameter
    learning_rate_init, beta_1, beta_2, epsilon
        As the estimators take them.

    Attributes
    ----------
    learning_rate : float
        That of the last step, corrections included.
    """

    def __init__(
        self, params: Iterable[Parameter], learning_rate_init: float = 0.001, beta_1: float = 0.9,
        beta_2: float = 0.999, epsilon: float = 1e-8,
    ) -> None:  # fmt: skip
        build = partial(_EarlyEpsilon, lr=learning_rate_init, betas=(beta_1, beta_2), eps=epsilon)
        super().__init__(learning_rate_init, params, build)

    @property
    def learning_rate(self) -> float:
        assert isinstance(self.steps, _EarlyEpsilon)
        made = self.steps.steps
        return float(self.steps.rate(np.float64(made))) if made else self._rate


class OtherOptimizer(BaseOptimizer):
    """Any optimiser of ``fastbp.optim``, by its name or as a callable that takes the parameters and ``lr``."""

    def __init__(
        self, params: Iterable[Parameter], build: Callable[..., Steps], learning_rate_init: float = 0.001
    ) -> None:
        super().__init__(learning_rate_init, params, partial(build, lr=learning_rate_init))


class _Velocity(SGD):
    """A gradient that was multiplied by the learning rate is summed up in the state, and taken off as it is."""

    def __init__(self, params: Iterable[Parameter], lr: float, momentum: float, *, nesterov: bool) -> None:
        super().__init__(params, lr, momentum, nesterov=nesterov)

    def _require_group(self, settings: Mapping[str, Any]) -> None:
        """Take Nesterov without momentum too, which is plain descent."""

    def _row(self, settings: Sequence[Mapping[str, Any]]) -> str:
        return "SGD:momentum"

    def _is_constant(self) -> bool:
        return True

    def _columns(self, settings: Mapping[str, Any], numbers: Array, row: ScalarRow) -> Columns:
        # What turns the gradient of an objective to be maximised, "sign", may be any factor.
        return 1.0, settings["lr"], 0.0, settings["momentum"], 1.0, settings["nesterov"], 0.0


def _as_they_come(owner: str, name: str, value: Any) -> tuple[float, float]:
    """Take two betas of 1 or less: the estimators ask for less than 1, scikit-learn's optimisers do not."""
    one, two = value
    return float(one), float(two)


class _EarlyEpsilon(Adam):
    """Adam whose two corrections are factors of the learning rate."""

    betas = Setting((0.9, 0.999), _as_they_come)

    def rate(self, numbers: Any) -> Any:
        """Return the learning rate of the steps ``numbers``, counted from 1."""
        one, two = self.param_groups[0]["betas"]
        return self.param_groups[0]["lr"] * np.sqrt(1 - two**numbers) / (1 - one**numbers)

    def _columns(self, settings: Mapping[str, Any], numbers: Array, row: ScalarRow) -> Columns:
        one, two = settings["betas"]
        return 1 - one, two, 1 - two, self.rate(numbers), 1.0, settings["eps"], 1.0, 0.0, 1.0, 0.0

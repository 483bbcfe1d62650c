"""Smooth activations beside the common ones.

All are as those of their names in ``torch.nn``. ``inplace`` is False: the output is an array that the module owns, and
the input stays as it is.
"""

from __future__ import annotations

from fastbp.nn.activations.base import Activation, ScalarActivation, ScalarSetting


class SiLU(ScalarActivation):
    """``x * sigmoid(x)``, also called swish."""

    row = "SiLU"

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace)


class Mish(ScalarActivation):
    """``x * tanh(softplus(x))``."""

    row = "Mish"

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace)


class Softplus(ScalarActivation):
    """``log(1 + exp(x * beta)) / beta``, or ``x`` where ``x * beta`` is above ``threshold``."""

    row, settings = "Softplus", {"beta": float, "threshold": float}
    beta, threshold = ScalarSetting(), ScalarSetting()

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__(beta=beta, threshold=threshold)


class Softsign(Activation):
    """``x / (1 + |x|)``."""

    row = "Softsign"


class LogSigmoid(Activation):
    """``log(1 / (1 + exp(-x)))``."""

    row = "LogSigmoid"

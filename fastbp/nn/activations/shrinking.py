"""Activations that return 0, or another number, for a range of inputs.

All are as those of their names in ``torch.nn``. ``inplace`` is False: the output is an array that the module owns, and
the input stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from fastbp.nn.activations.base import Activation, ScalarActivation, ScalarSetting


class Hardshrink(ScalarActivation):
    """``x``, or 0 from ``-lambd`` to ``lambd``."""

    row, settings = "Hardshrink", {"lambd": float}
    lambd = ScalarSetting()

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__(lambd=lambd)


class Softshrink(ScalarActivation):
    """``x - lambd`` above ``lambd``, ``x + lambd`` below ``-lambd``, 0 between them; ``lambd`` is 0 or more."""

    row, settings = "Softshrink", {"lambd": float}
    lambd = ScalarSetting()

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__(lambd=lambd)
        if self.lambd < 0:
            raise ValueError(f"Softshrink takes lambd as a number of 0 or more, got {lambd!r}")


class Tanhshrink(Activation):
    """``x - tanh(x)``."""

    row = "Tanhshrink"


class Threshold(ScalarActivation):
    """``x`` above ``threshold``, else ``value``."""

    row, settings = "Threshold", {"threshold": float, "value": float}
    example: ClassVar[Mapping[str, float]] = {"threshold": 0.1, "value": -0.5}
    threshold, value = ScalarSetting(), ScalarSetting()

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace, threshold=threshold, value=value)

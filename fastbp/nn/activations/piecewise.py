"""Activations that are other formulas on either side of some numbers.

All are as those of their names in ``torch.nn``. ``inplace`` is False: the output is an array that the module owns, and
the input stays as it is.
"""

from __future__ import annotations

from fastbp.nn.activations.base import ScalarActivation, ScalarSetting

# Klambauer et al., "Self-Normalizing Neural Networks", 2017, with the digits of the paper's appendix.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


class LeakyReLU(ScalarActivation):
    """``x``, or ``x * negative_slope`` where x is not above 0."""

    row, settings = "LeakyReLU", {"negative_slope": float}
    negative_slope = ScalarSetting()

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace, negative_slope=negative_slope)


class Hardtanh(ScalarActivation):
    """``x``, cut off at ``min_val`` and ``max_val``."""

    row, settings = "Hardtanh", {"min_val": float, "max_val": float}
    min_val, max_val = ScalarSetting(), ScalarSetting()

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace, min_val=min_val, max_val=max_val)
        if not self.max_val > self.min_val:
            raise ValueError(f"Hardtanh takes max_val above min_val, got min_val={min_val!r} and max_val={max_val!r}")


class ReLU6(ScalarActivation):
    """``min(max(x, 0), 6)``."""

    row = "Hardtanh"

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace)

    @property
    def scalars(self) -> tuple[float, ...]:
        return 0.0, 6.0


class ELU(ScalarActivation):
    """``x``, or ``alpha * (exp(x) - 1)`` where x <= 0."""

    row, settings = "ELU", {"alpha": float}
    alpha = ScalarSetting()

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace, alpha=alpha)

    @property
    def scalars(self) -> tuple[float, ...]:
        return 1.0, self.alpha, 1.0


class CELU(ScalarActivation):
    """``x``, or ``alpha * (exp(x / alpha) - 1)`` where x <= 0."""

    row, settings = "ELU", {"alpha": float}
    alpha = ScalarSetting()

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace, alpha=alpha)
        if not self.alpha:
            raise ValueError(f"CELU divides by alpha and takes any number but 0, got {alpha!r}")

    @property
    def scalars(self) -> tuple[float, ...]:
        return 1.0, self.alpha, 1.0 / self.alpha


class SELU(ScalarActivation):
    """``scale * x``, or ``scale * alpha * (exp(x) - 1)`` where x <= 0, for the two constants of its paper."""

    row = "ELU"

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace)

    @property
    def scalars(self) -> tuple[float, ...]:
        return _SELU_SCALE, _SELU_SCALE * _SELU_ALPHA, 1.0


class Hardsigmoid(ScalarActivation):
    """``x / 6 + 1/2``, cut off at 0 and 1."""

    row = "Hardsigmoid"

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace)


class Hardswish(ScalarActivation):
    """``x * min(max(x + 3, 0), 6) / 6``."""

    row = "Hardswish"

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace)

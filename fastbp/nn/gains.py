"""How much a nonlinearity takes from the variance of what passes through it."""

from __future__ import annotations

from math import sqrt
from typing import Any

from fastbp.validation.scalars import require_finite

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": sqrt(2), "selu": 3 / 4}
_CONVOLUTIONS = {f"conv{kind}{axes}d": 1.0 for kind in ("", "_transpose") for axes in (1, 2, 3)}


def calculate_gain(nonlinearity: str, param: Any = None) -> float:
    """Return the factor for a weight's standard deviation that keeps the variance through a nonlinearity.

    Parameters
    ----------
    nonlinearity : str
        PyTorch's name for it: "linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu", or a convolution's, which is
        linear. The values are those of ``torch.nn.init.calculate_gain``.
    param : float or None
        Slope of "leaky_relu" below zero; None is 0.01. The others take none and ignore it, as PyTorch does.

    Raises
    ------
    ValueError
        For another name, or a slope that is not finite.
    TypeError
        For a slope that is no number.
    """
    owner = "nn.init.calculate_gain"
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else require_finite(param, owner, "param")
        return sqrt(2 / (1 + slope * slope))
    for gains in (_GAINS, _CONVOLUTIONS):
        if isinstance(nonlinearity, str) and nonlinearity in gains:
            return gains[nonlinearity]
    raise ValueError(f"{owner} knows {', '.join(map(repr, (*_GAINS, 'leaky_relu')))}, got {nonlinearity!r}")

"""Probabilities."""

from __future__ import annotations

from typing import Any

from fastbp.validation.arrays import Array
from fastbp.validation.scalars import require_finite


def require_probabilities(array: Array, owner: str, name: str, what: str) -> None:
    """Raise ValueError where a number is below 0 or above 1; NaN is neither."""
    if not array.size or (array.min() >= 0 and array.max() <= 1):
        return
    wrong = array[(array < 0) | (array > 1)]
    if wrong.size:
        raise ValueError(f"{owner} takes {name} from 0 to 1, got {wrong[0]}: they are {what}")


def require_clipping(eps: Any, owner: str) -> float:
    """Return how near to 0 and 1 a probability counts as it is, or raise TypeError or ValueError."""
    number = require_finite(eps, owner, "eps", least=0)
    if number >= 0.5:
        raise ValueError(f"{owner} takes eps below 0.5, got {eps!r}")
    return number

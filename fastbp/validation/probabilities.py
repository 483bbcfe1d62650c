"""Probabilities."""

from __future__ import annotations

from fastbp.validation.arrays import Array


def require_probabilities(array: Array, owner: str, name: str, what: str) -> None:
    """Raise ValueError where a number is below 0 or above 1; NaN is neither."""
    if not array.size or (array.min() >= 0 and array.max() <= 1):
        return
    wrong = array[(array < 0) | (array > 1)]
    if wrong.size:
        raise ValueError(f"{owner} takes {name} from 0 to 1, got {wrong[0]}: they are {what}")

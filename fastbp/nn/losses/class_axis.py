"""Predictions of classes at many places, of shape (n, classes, ...), and of one row alone: as rows, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastbp.nn.losses.one_sample import as_arrays
from fastbp.validation.arrays import Array


class ClassAxis(NamedTuple):
    """Where the classes of a prediction are.

    Attributes
    ----------
    axis : int
    places : tuple of int
        The prediction's shape without it.
    """

    axis: int
    places: tuple[int, ...]

    def rows(self, array: Array) -> Array:
        """Return an array like the prediction as rows (n, classes)."""
        classes = array.shape[self.axis]
        return np.moveaxis(array, self.axis, -1).reshape(array.size // classes, classes)

    def put_back(self, rows: Array) -> Array:
        """Return rows as an array like the prediction, in memory of its own."""
        return np.moveaxis(rows.reshape(*self.places, rows.shape[1]), -1, self.axis).copy()


def by_rows(owner: str, prediction: Any, target: Any, weights: Any) -> tuple[ClassAxis | None, Any, Any, Any]:
    """Return prediction, target and weights of the rows, and where the classes were if not in the second of two axes.

    What is no array, or has two dimensions or none, is left to the checks of those that are.
    """
    prediction, target = as_arrays(prediction, target, takes_classes=True)
    if not isinstance(prediction, np.ndarray) or not isinstance(target, np.ndarray) or prediction.ndim in (0, 2):
        return None, prediction, target, weights
    axis = 0 if prediction.ndim == 1 else 1
    places = prediction.shape[:axis] + prediction.shape[axis + 1 :]
    if not prediction.shape[axis] or target.shape not in (places, prediction.shape):
        raise ValueError(
            f"{owner} takes logits of shape (n, classes), (n, classes, ...) or (classes,), and a target of a class for "
            f"each row and place, or of probabilities of that shape, got {prediction.shape} and {target.shape}"
        )
    spread = ClassAxis(axis, places)
    if target.shape == prediction.shape and target.dtype.kind == "f":
        target = spread.rows(target)
    else:
        target = target.reshape(target.size)
    if isinstance(weights, np.ndarray) and axis and weights.shape == prediction.shape[:1]:
        weights = np.repeat(weights, len(target) // (len(weights) or 1))
    return spread, spread.rows(prediction), target, weights

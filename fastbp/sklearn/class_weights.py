"""Weights of classes: of all samples that were handed over, by which the loss of each trained sample is multiplied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastbp.validation.arrays import Array

_LABEL = (0, 1)  # the classes of one of several labels


class ClassWeights:
    """A weight for each class, or for each label that a sample has or has not.

    Parameters
    ----------
    class_weight : dict, list of dicts, or "balanced"
        A dict of classes; for several labels a list of one for each, of 0 and 1. What is not named counts 1. "balanced"
        is ``samples / (classes * samples of the class)`` in ``indicators``; a class without samples counts 1.
    classes : ndarray of shape (n_classes,)
    indicators : ndarray of bool, shape (n, o)
        Of all samples, before any are set aside, as ``LabelBinarizer`` makes them.
    has_labels : bool
        Whether a sample has several labels.

    Raises
    ------
    ValueError
        For names that are no classes, or a list that does not fit.
    """

    def __init__(self, class_weight: Any, classes: Array, indicators: Array, *, has_labels: bool) -> None:
        self._has_labels = has_labels
        if has_labels:
            given = _for_each_label(class_weight, indicators.shape[1])
            parts = [_weights(one, _LABEL, column.astype(np.intp)) for one, column in zip(given, indicators.T)]
            self._table = np.array(parts)
        else:
            if class_weight != "balanced" and not isinstance(class_weight, Mapping):
                raise ValueError(
                    f"class_weight takes a dict or 'balanced' where a sample has one class, got {class_weight!r}; a "
                    "list of dicts is for several labels"
                )
            self._table = _weights(class_weight, classes.tolist(), _places(indicators))

    def of(self, indicators: Array) -> Array:
        """Return the weights (n,) of samples: for several labels the product over the labels."""
        if not self._has_labels:
            weights: Array = self._table[_places(indicators)]
            return weights
        product: Array = np.where(indicators, self._table[:, 1], self._table[:, 0]).prod(axis=1)
        return product


def _for_each_label(class_weight: Any, labels: int) -> Iterable[Any]:
    if isinstance(class_weight, str):
        return [class_weight] * labels
    if isinstance(class_weight, Mapping) or len(class_weight) != labels:
        came = repr(class_weight) if isinstance(class_weight, Mapping) else f"a list of {len(class_weight)}"
        raise ValueError(
            f"class_weight takes 'balanced' or a list of a dict for each of {labels} labels, such as [{{1: 10}}, ...], "
            f"got {came}"
        )
    return class_weight  # type: ignore[no-any-return]


def _places(indicators: Array) -> Array:
    places: Array = indicators[:, 0].astype(np.intp) if indicators.shape[1] == 1 else indicators.argmax(axis=1)
    return places


def _weights(class_weight: Any, classes: Sequence[Any], places: Array) -> Array:
    """Return the weight of each class, for samples whose classes stand at ``places``."""
    if class_weight == "balanced":
        counts = np.bincount(places, minlength=len(classes))
        present = counts > 0
        balanced: Array = np.where(present, len(places) / (present.sum() * np.maximum(counts, 1)), 1.0)
        return balanced
    unknown = [name for name in class_weight if name not in classes]
    if unknown:
        raise ValueError(f"class_weight takes classes of y, which are {list(classes)}, got {unknown} besides")
    return np.array([class_weight.get(name, 1.0) for name in classes], np.float64)

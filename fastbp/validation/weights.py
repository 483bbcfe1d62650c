"""Weights: of rows of data, of classes and of outputs."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np

from fastbp.validation.arrays import Array, require_floats
from fastbp.validation.foreign import require_array


def require_row_weights(weights: Any, dtype: np.dtype[Any], shape: tuple[int, ...], owner: str, name: str) -> Array:
    """Return ``weights`` itself if it has a finite weight of 0 or more for each row, or raise TypeError or ValueError.

    Parameters
    ----------
    weights : ndarray of ``dtype``
    shape : tuple of int
        (n,), or () where the data have no rows.
    owner, name : str
        Who takes them, and by what name.
    """
    found = require_floats(require_array(weights, f"{owner}({name}=...)", (dtype.name,)), f"{owner}({name}=...)", dtype)
    if found.shape != shape or not shape:
        raise ValueError(f"{owner} takes {name} with a weight for each row, shape {shape or '(n,)'}, got {found.shape}")
    wrong = found[~((found >= 0) & (found < np.inf))]
    if wrong.size:
        raise ValueError(f"{owner} takes finite {name} of 0 or more, got {wrong[0]}")
    return found


def require_some_weight(weights: Array, owner: str, name: str) -> None:
    """Raise ValueError if no row has a weight above 0."""
    if not weights.any():
        raise ValueError(f"{owner} takes {name} with a weight above 0 for one row or more, got zeros only")


def weight_vector(weights: Any, owner: str, name: str) -> Array | None:
    """Return ``weights``, finite numbers or None, as a vector of float64 of its own that nobody can change."""
    if weights is None:
        return None
    given = np.asarray(weights) if isinstance(weights, int | float | list | tuple) else weights
    found = require_array(given, f"{owner}({name}=...)")
    if found.dtype.kind not in "iuf" or found.ndim > 1:
        raise TypeError(f"{owner} takes {name} as a vector of numbers, got {found.dtype} of shape {found.shape}")
    vector = np.array(found, np.float64).reshape(found.size)
    wrong = vector[~np.isfinite(vector)]
    if wrong.size:
        raise ValueError(f"{owner} takes {name} of finite numbers, got {wrong[0]}")
    vector.flags.writeable = False
    return vector


def require_weighing(criterion: Any, owner: str, name: str) -> None:
    """Raise TypeError unless ``criterion`` takes weights of rows, which came to ``owner`` by ``name``."""
    if "sample_weight" not in signature(criterion.forward).parameters:
        raise TypeError(
            f"{owner} takes {name} with a criterion whose forward takes sample_weight, got "
            f"{type(criterion).__name__}; give its forward(prediction, target, sample_weight=None)"
        )

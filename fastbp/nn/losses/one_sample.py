"""A prediction and a target of one sample without a batch, which NumPy and Python hand out as numbers: as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_arrays(prediction: Any, target: Any, *, takes_classes: bool = False) -> tuple[Any, Any]:
    """Return both as arrays where they are numbers, and otherwise as they came, for the checks of a loss.

    A number of Python has no dtype: it is a class index, or takes the prediction's. One number is a target for one,
    whatever dimensions of 1 the prediction has.
    """
    if type(prediction) is np.ndarray is type(target) and target.ndim:
        return prediction, target
    if isinstance(prediction, np.floating):
        prediction = np.asarray(prediction)
    if isinstance(target, np.number):
        target = np.asarray(target)
    elif type(target) in (int, float) and isinstance(prediction, np.ndarray):
        with np.errstate(over="ignore"):  # beyond float32 is infinity, as in PyTorch
            target = np.asarray(target, None if takes_classes else prediction.dtype)
    if isinstance(target, np.ndarray) and not target.ndim and not takes_classes and getattr(prediction, "size", 0) == 1:
        target = target.reshape(prediction.shape)
    return prediction, target

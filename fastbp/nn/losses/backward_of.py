"""A mini-batch's loss and the way back from it, whatever kind of loss it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastbp.autograd.tensor import Tensor


def backward_of(criterion: Any, prediction: Any, target: Any, weights: Mapping[str, Any]) -> float:
    """Add the gradients of a loss to those of the parameters that ``prediction`` was computed from; return the loss.

    Parameters
    ----------
    criterion : Loss, or an object with ``forward(prediction, target)`` and ``backward()``
        What returns no tensor has to have ``backward``, which returns the gradient with respect to the prediction.
    prediction : Tensor
    target : ndarray
    weights : mapping
        "sample_weight", or nothing.
    """
    is_recorded = isinstance(prediction, Tensor) and prediction.requires_grad
    loss = (criterion if callable(criterion) else criterion.forward)(prediction, target, **weights)
    if isinstance(loss, Tensor) and loss.requires_grad:
        loss.backward()
    elif is_recorded:  # else there is nothing to train
        prediction.backward(np.asarray(criterion.backward()))
    return float(loss)

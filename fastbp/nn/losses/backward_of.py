"""A mini-batch's loss and the way back from it, whatever kind of model and of loss it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastbp.autograd.recording import enable_grad
from fastbp.autograd.tensor import Tensor


def backward_of(criterion: Any, model: Any, input: Any, target: Any, weights: Mapping[str, Any]) -> float:
    """Give the model's parameters the gradients of a loss in place of those that they have, and return the loss.

    Parameters
    ----------
    criterion : Loss, or an object with ``forward(prediction, target)`` and ``backward()``
        What returns no tensor has to have ``backward``, which returns the gradient with respect to the prediction.
    model : Module
    input, target : ndarray
    weights : mapping
        "sample_weight", or nothing.

    Raises
    ------
    RuntimeError
        If there is something to train and the model's output does not tell how it was computed.
    """
    with enable_grad():  # also where the caller's code is not recorded
        prediction = model(input)
        loss = (criterion if callable(criterion) else criterion.forward)(prediction, target, **weights)
    model.zero_grad()  # when nothing of the user's that may raise is left but a backward
    if isinstance(loss, Tensor) and loss.requires_grad:
        loss.backward()
    elif isinstance(prediction, Tensor) and prediction.requires_grad:
        prediction.backward(np.asarray(criterion.backward()))
    elif any(parameter.requires_grad for parameter in model.parameters()):
        raise RuntimeError(
            f"a training goes back through the outputs of {type(model).__name__}, and got numbers that do not tell how "
            "they were computed; leave numpy.asarray, numpy.array and detach out of its forward, or define its backward"
        )
    return float(loss)

"""Accuracy: the share of rows for which a model names the right class."""

from __future__ import annotations

import numpy as np

from fastbp.nn.module import Module
from fastbp.training.data import misfit, require_features, require_model_dtype, require_pairs, without_indices
from fastbp.training.training_run import Criterion
from fastbp.validation.arrays import Array, plain
from fastbp.validation.classes import stray_class
from fastbp.validation.foreign import require_array
from fastbp.validation.outputs import require_one_output
from fastbp_kernels.network.arguments import Rows

_PIECE = 1 << 20  # elements looked through at a time, so that large data need no large masks
_DTYPES = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8")
_TARGETS = (
    "one-hot targets, one 1 in every row and 0 elsewhere, a single column of 0 and 1, or integer class indices of "
    "shape (n,)"
)


def compute_accuracy(model: Module, inputs: Array, targets: Array) -> float:
    """Return the share of rows for which the model's output names the target's class.

    Parameters
    ----------
    model : Module
    inputs : ndarray of shape (n, in_features)
    targets : ndarray
        One of three kinds:

        - One-hot rows of shape (n, classes), or integer class indices of shape (n,). A row counts if its largest
          output, the first of equal ones, is that of the class.
        - A single column of 0 and 1, shape (n, 1). A row counts if its output is on the target's side of 0.5: above it
          for 1, not above it for 0. NaN is on neither side. That fits outputs that were trained towards 0 and 1, with
          or without a sigmoid behind the last layer; it does not fit logits, whose sides part at 0.

    Returns
    -------
    float
        From 0 to 1; NaN for no rows.

    Raises
    ------
    TypeError, ValueError
        For other targets, and arrays that do not fit the model or each other.
    """
    if not isinstance(model, Module):
        raise TypeError(f"compute_accuracy takes a fastbp.nn.Module, got {type(model).__name__}")
    data = {"inputs": inputs, "targets": require_array(targets, "compute_accuracy(targets=...)", _DTYPES)}
    are_indices = targets.dtype.kind in "iu"
    floats = {"inputs": inputs} if are_indices else data
    require_model_dtype("compute_accuracy", model, without_indices(model, floats, ["inputs"]))
    require_pairs(data)
    if are_indices and targets.ndim != 1:
        raise ValueError(f"compute_accuracy takes class indices of shape (n,), got {targets.shape}")
    require_features("compute_accuracy", model, "inputs", inputs.shape)
    targets = plain(targets)
    prediction = require_one_output("compute_accuracy", model, model.predict(plain(inputs)))
    if are_indices:
        _require_indices(targets, prediction.shape)
    elif targets.ndim == 1 and prediction.ndim == 2 and prediction.shape[1] > 1:
        raise ValueError(f"compute_accuracy takes class indices as integers, got {targets.dtype}; pass .astype(int)")
    elif prediction.shape != targets.shape:
        raise ValueError(misfit("compute_accuracy", "inputs", "targets", prediction.shape, targets))
    elif not has_classes(targets):
        raise ValueError(f"compute_accuracy takes {_TARGETS}, got others of shape {targets.shape}")
    return accuracy(prediction, targets)


def accuracy(prediction: Array, target: Array, threshold: float = 0.5) -> float:
    """Return what ``compute_accuracy`` does for predictions (n, classes) and targets that have classes.

    Rows of the class -1 do not count. ``threshold`` parts the sides of a single column: it is 0 for logits.
    """
    if target.ndim == 1:
        hits = (prediction.argmax(axis=1) == target)[target >= 0]
    elif target.shape[1] == 1:
        hits = np.where(target == 1, prediction > threshold, prediction <= threshold)
    else:
        hits = prediction.argmax(axis=1) == target.argmax(axis=1)
    return float(np.count_nonzero(hits) / len(hits)) if len(hits) else float("nan")


def records_accuracy(criterion: Criterion, validation: Rows | None) -> bool:
    """Whether a training records the accuracy unasked: not for a column of logits, whose sides part at 0."""
    if validation is None or not has_classes(validation.target):
        return False
    if getattr(criterion, "columns_per_target", 1) != 1:
        return False
    is_column = validation.target.ndim == 2 and validation.target.shape[1] == 1
    return not (is_column and getattr(criterion, "takes_logits", False) is True)


def has_classes(target: Array) -> bool:
    """Whether the rows of ``target`` are one-hot, a single column of 0 and 1, or class indices."""
    if target.dtype.kind in "iu":
        return target.ndim == 1
    if target.ndim != 2 or not target.shape[1]:
        return False
    rows = max(1, _PIECE // target.shape[1])
    return all(_are_one_hot(target[start : start + rows]) for start in range(0, len(target), rows))


def _are_one_hot(rows: Array) -> bool:
    if not ((rows == 0) | (rows == 1)).all():
        return False
    return rows.shape[1] == 1 or bool((rows.sum(axis=1) == 1).all())


def _require_indices(indices: Array, outputs: tuple[int, ...]) -> None:
    """Raise ValueError unless ``indices`` (n,) name classes of a model with outputs of that shape."""
    if len(outputs) != 2 or outputs[1] < 2:
        raise ValueError(
            f"compute_accuracy takes class indices for outputs of 2 columns or more, got {outputs}; for one column of "
            "outputs pass a column of 0 and 1, targets[:, None].astype(numpy.float32)"
        )
    wrong = stray_class(indices, outputs[1])
    if wrong is not None:
        raise ValueError(
            f"compute_accuracy takes class indices from 0 to {outputs[1] - 1} for outputs of shape {outputs}, "
            f"got {wrong}"
        )

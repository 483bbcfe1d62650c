"""One of the trainings of ``train_models``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.nn.module import Module
from fastbp.optim.lr_scheduler import LRScheduler
from fastbp.training.early_stopping import EarlyStopping
from fastbp.training.history import History
from fastbp.training.metrics import Metric
from fastbp.training.nonfinite import OnNonfinite
from fastbp.training.row_blocks import RowBlocks
from fastbp.training.schedule import Interval
from fastbp.training.training_run import Criterion, Optimizer
from fastbp.validation.arrays import Array, RandomSource


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingJob:
    """One of the trainings of ``train_models``: the arguments of ``train_model``, and which rows of the data it takes.

    Many jobs may share arrays, and each take other rows of them, such as a fold or a bootstrap sample.

    Parameters
    ----------
    model, criterion, opt, epochs, mini_batch_size
        As ``train_model`` takes them.
    train_input, train_target, val_input, val_target
        Likewise.
    rows : ndarray of integers, shape (k,), or None
        The rows of ``train_input`` and ``train_target`` to train with, in this order, a row as often as it stands
        there; None for all. They are copied while the job trains, and not before.
    val_rows : ndarray of integers, shape (m,), or None
        The rows of ``val_input`` and ``val_target`` to validate with; without these two, of ``train_input`` and
        ``train_target``.
    sample_weight, val_sample_weight
        Of all rows of the arrays, as ``train_model`` takes them; ``rows`` and ``val_rows`` choose among them.
    shuffle, rng, progress, on_nonfinite, metrics, early_stopping, max_seconds
        As ``train_model`` takes them. ``progress`` is a callable or None; it may be called in another thread, but no
        two jobs' at once.
    scheduler, scheduler_interval, clip_grad_norm
        Likewise.
    name : str
        What errors and warnings call the job, beside its place in the list.
    """

    model: Module
    criterion: Criterion
    opt: Optimizer
    epochs: int
    mini_batch_size: int
    train_input: Array | RowBlocks
    train_target: Array | None = None
    val_input: Array | None = None
    val_target: Array | None = None
    rows: Array | None = None
    val_rows: Array | None = None
    sample_weight: Array | None = None
    val_sample_weight: Array | None = None
    shuffle: bool = False
    rng: RandomSource = None
    progress: Callable[[History], object] | None = None
    on_nonfinite: OnNonfinite = "warn"
    metrics: Iterable[str | Metric] | Mapping[str, Metric] | None = None
    early_stopping: EarlyStopping | None = None
    max_seconds: float | None = None
    scheduler: LRScheduler | None = None
    scheduler_interval: Interval = "epoch"
    clip_grad_norm: float | None = None
    name: str = ""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``train_model``, with copies of the rows that are chosen.

        Raises
        ------
        TypeError, ValueError
            For ``rows`` or ``val_rows`` that do not fit the data.
        """
        arguments = dict(vars(self))
        for name in ("rows", "val_rows", "name"):
            del arguments[name]
        if self.val_rows is not None:
            source = _TRAIN if self.val_input is None and self.val_target is None else _VALIDATION
            chosen = _chosen("val_rows", self.val_rows, [arguments[name] for name in (*source, "val_sample_weight")])
            arguments |= zip((*_VALIDATION, "val_sample_weight"), chosen, strict=True)
        if self.rows is not None:
            names = (*_TRAIN, "sample_weight")
            arguments |= zip(names, _chosen("rows", self.rows, [arguments[name] for name in names]), strict=True)
        return arguments


_TRAIN, _VALIDATION = ("train_input", "train_target"), ("val_input", "val_target")


def _chosen(name: str, rows: Any, arrays: Sequence[Any]) -> list[Any]:
    """Return these rows of each array, copied; None stays None."""
    if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype.kind not in "iu":
        came = f"an array of {rows.dtype} and shape {rows.shape}" if isinstance(rows, np.ndarray) else repr(rows)
        remedy = f"; pass numpy.flatnonzero({name})" if isinstance(rows, np.ndarray) and rows.dtype == bool else ""
        raise TypeError(f"TrainingJob takes {name} as an array of integers of shape (k,), got {came}{remedy}")
    for array in arrays:
        if array is None:
            continue
        if not isinstance(array, np.ndarray) or not array.ndim:
            raise TypeError(f"TrainingJob takes {name} of NumPy arrays, got {type(array).__name__}")
        if rows.size and not 0 <= rows.min() <= rows.max() < len(array):
            raise ValueError(
                f"TrainingJob takes {name} from 0 to {len(array) - 1} for arrays of {len(array)} rows, got "
                f"{rows.min()} to {rows.max()}"
            )
    return [None if array is None else array[rows] for array in arrays]

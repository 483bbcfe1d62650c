"""What is asked of the arguments of ``train_model`` before anything changes, and the data as the trainers take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any

import numpy as np

from fastbp.nn.losses.kernel_loss import given_rows
from fastbp.nn.losses.loss import Loss
from fastbp.nn.module import Module
from fastbp.optim.optimizer import Optimizer as OptimizerBase
from fastbp.training.data import checked_rows, require_weights
from fastbp.training.history import History
from fastbp.training.row_blocks import BlockReader, RowBlocks
from fastbp.training.training_run import Criterion, Optimizer
from fastbp.validation.arrays import Array, guarded
from fastbp.validation.scalars import require_number
from fastbp_kernels.network.arguments import Rows


def count(name: str, value: Any, least: int) -> int:
    """Return ``value`` as an int of any size: NumPy's own would overflow in products."""
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, int | np.integer)):
        raise TypeError(f"train_model takes {name} as an int, got {value!r}")
    if value < least:
        raise ValueError(f"train_model takes {name} of {least} or more, got {value}")
    return int(value)


def positive_seconds(value: Any) -> float:
    """Return ``value`` as a number above 0, infinity for None, or raise TypeError or ValueError."""
    if value is None:
        return inf
    seconds = require_number(value, "train_model", "max_seconds")
    if not seconds > 0:
        raise ValueError(f"train_model takes max_seconds above 0, got {value!r}")
    return seconds


def require_parts(model: Module, criterion: Criterion, opt: Optimizer) -> None:
    """Raise TypeError unless these can be trained, be a loss and be an optimiser."""
    if not isinstance(model, Module):
        raise TypeError(f"train_model takes a fastbp.nn.Module as model, got {type(model).__name__}")
    if not isinstance(criterion, Loss):
        _require_methods("criterion", criterion, ("forward", "backward"))
    if not isinstance(opt, OptimizerBase):
        _require_methods("opt", opt, ("step",))


def _require_methods(name: str, part: Any, methods: Sequence[str]) -> None:
    for method in methods:
        if isinstance(part, type) or not callable(getattr(part, method, None)):
            raise TypeError(f"train_model takes {name} as an object with {method}(), got {part!r}")


def require_history(history: Any) -> History:
    """Return ``history``, a new one for None, or raise TypeError."""
    if history is None:
        return History()
    if not isinstance(history, History):
        raise TypeError(f"train_model takes history as a fastbp.History, got {type(history).__name__}")
    return history


def rows_of(
    model: Module, criterion: Criterion, train: tuple[Any, Any, Any], val: tuple[Any, Any, Any]
) -> tuple[Rows, Rows | None, BlockReader | None]:
    """Return the rows to train and to validate with, as the kernels take them.

    Of training rows in blocks it is the first block, and what reads all of them.

    Parameters
    ----------
    model : Module
    criterion : Criterion
    train, val : (input, target, weights)
        Weights may be None. Of ``val`` all are None without validation.

    Raises
    ------
    TypeError, ValueError
        For data that do not fit the model's dtype, the criterion's kind of targets, or each other.
    """
    session, is_alone = model._session, val[0] is val[1] is val[2] is train[2] is None
    if is_alone and session is not None and session.has_seen(criterion, train[0], train[1]):
        return given_rows(train[0], train[1]), None, None
    if (val[0] is None) != (val[1] is None):
        raise ValueError("train_model takes val_input and val_target together, got only one of them")
    if val[0] is None and val[2] is not None:
        raise ValueError("train_model takes val_sample_weight together with val_input and val_target, got it alone")
    reader = None
    if isinstance(train[0], RowBlocks):
        reader = BlockReader(*train, model, criterion)
        train = reader.first.input, reader.first.target, None
    pairs = [_by_name("train", train)]
    if val[0] is not None:
        pairs.append(_by_name("val", val))
    rows = checked_rows(model, criterion, pairs)
    if not rows[0].n:
        raise ValueError("train_model takes one training row or more, got none")
    train_rows = rows[0] if train[2] is None else _weighted("sample_weight", rows[0], train[2], criterion)
    if len(rows) == 1:
        return train_rows if reader is None else reader.first, None, reader
    val_rows = rows[1] if val[2] is None else _weighted("val_sample_weight", rows[1], val[2], criterion)
    return train_rows if reader is None else reader.first, val_rows, reader


def _weighted(name: str, rows: Rows, weights: Any, criterion: Criterion) -> Rows:
    return rows._replace(weights=require_weights(name, weights, rows, criterion))


def named_pairs(train: Rows, validation: Rows | None) -> Iterator[dict[str, Array]]:
    """Yield inputs and targets by the names of their arguments, as functions of the user's may see them."""
    yield _by_name("train", (guarded(train.input), guarded(train.target)))
    if validation is not None:
        yield _by_name("val", (guarded(validation.input), guarded(validation.target)))


def _by_name(which: str, pair: tuple[Any, ...]) -> dict[str, Any]:
    return {f"{which}_input": pair[0], f"{which}_target": pair[1]}

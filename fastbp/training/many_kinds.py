"""Which jobs of ``train_models`` are of one kind: what the checks find of the first of them holds for the others.

The checks of ``train_model`` go by types, sizes, settings and the numbers of the targets, and not by the numbers of
parameters or of inputs, where the engine trains a network of the library's own modules by a loss that takes any
prediction. So jobs whose checks go by the same are checked once; what differs between them is looked at in each.
"""

from __future__ import annotations

from collections.abc import Hashable
from types import NoneType
from typing import Any, NamedTuple

import numpy as np

from fastbp.engine.parallelism import divide
from fastbp.engine.plan import Plan, plan_of
from fastbp.engine.refusals import NotPlannable, require_known_part, require_own_parameters
from fastbp.nn.losses.kernel_loss import KernelLoss
from fastbp.nn.module import Module
from fastbp.optim.optimizer import Optimizer
from fastbp.training.arguments import named_pairs, rows_of
from fastbp.training.data import try_first_row
from fastbp.training.history import History
from fastbp.training.many_job import TrainingJob

_NUMBERS = (
    "epochs", "mini_batch_size", "shuffle", "on_nonfinite", "max_seconds", "scheduler_interval", "clip_grad_norm",
)  # fmt: skip
_WITH_CHECKS_OF_THEIR_OWN = ("sample_weight", "val_sample_weight", "metrics", "early_stopping", "scheduler")
_DATA = ("train_input", "train_target", "val_input", "val_target")
_PLAIN = (NoneType, bool, int, float, str)


def kind_of(job: TrainingJob) -> Hashable | None:
    """Return what the checks of a job that begins go by; None where all of the job is to be checked."""
    if type(job) is not TrainingJob or any(getattr(job, name) is not None for name in _WITH_CHECKS_OF_THEIR_OWN):
        return None
    numbers, data = [getattr(job, name) for name in _NUMBERS], [getattr(job, name) for name in _DATA]
    if not all(type(number) in _PLAIN for number in numbers):
        return None
    if not all(array is None or type(array) is np.ndarray for array in data):
        return None
    parts = _kind_of_parts(job)
    if parts is None or not _is_seed(job.rng):
        return None
    rows = [_kind_of_rows(job.rows), _kind_of_rows(job.val_rows)]
    if None in rows:
        return None
    return parts, *numbers, *map(type, numbers), *map(id, data), *rows, type(job.rng)


def _kind_of_parts(job: TrainingJob) -> Hashable | None:
    """Return what the checks ask of model, loss and optimiser; None unless the engine knows them."""
    plan = plan_of(job.model) if isinstance(job.model, Module) else None
    if not isinstance(plan, Plan) or plan.own_methods or plan.flattens:
        return None
    try:
        criterion = require_known_part(job.criterion, KernelLoss)
        opt = require_known_part(job.opt, Optimizer)
    except NotPlannable:
        return None
    if criterion.checks_prediction:
        return None
    least_rows = max(module._least_rows for module in plan.modules) if plan.over_rows else 1
    network = plan.dtype, plan.first.in_features, plan.out_features, plan.parameter.size, plan.flop, least_rows
    return *network, plan.over_rows, criterion._kind, type(opt)


def _is_seed(rng: Any) -> bool:
    """Whether every other of this type would be taken too."""
    return rng is None or type(rng) is np.random.Generator or (type(rng) is int and rng >= 0)


def _kind_of_rows(rows: Any) -> int | None:
    """Return how many rows are chosen, -1 for all; None for what is no choice of rows."""
    if rows is None:
        return -1
    return len(rows) if type(rows) is np.ndarray and rows.ndim == 1 else None


def require_like_the_first(job: TrainingJob) -> None:
    """Raise what ``train_model`` would of a job whose kind was checked: of what each job has for itself.

    Raises
    ------
    TypeError, ValueError
        For an optimiser of another model, and for rows or their targets that do not fit.
    RuntimeError
        If another thread is training the model.
    """
    lock = job.model._current().lock
    with lock:
        lock.require_free()
    assert isinstance(job.opt, Optimizer)
    require_own_parameters("train_model", job.opt, plan_of(job.model).parameters)
    if job.rows is None and job.val_rows is None:
        return  # the arrays are those of the first
    chosen = job.arguments()
    train, val = (tuple(chosen[name] for name in names) for names in (_DATA[:2], _DATA[2:]))
    train_rows, validation, _ = rows_of(job.model, job.criterion, (*train, None), (*val, None))
    for pair in named_pairs(train_rows, validation):
        try_first_row("train_model", job.model, job.criterion, pair)


class EngineWork(NamedTuple):
    """How much work a job is for the engine."""

    of_an_epoch: float  # operations forward
    can_be_shared: bool


def work_in_engine(model: Module, trial: History) -> EngineWork | None:
    """Return how much work the job of a trial is for the engine; None where that is not known or it does not train."""
    plan = plan_of(model)
    if not isinstance(plan, Plan) or trial.backend != "engine" or trial.setting is None:
        return None
    model._session = None  # and with it the memory that would wait for the network's next training
    rows = trial.setting.training_rows
    if not rows:  # blocks, whose number nobody knows
        return None
    size = min(trial.setting.mini_batch_size, rows)
    ranks = divide(plan.flop, plan.parameter.size, size, rows, 0, whole=plan.over_rows).ranks
    return EngineWork(float(rows) * plan.flop, ranks > 1)

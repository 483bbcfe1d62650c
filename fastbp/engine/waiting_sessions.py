"""Sessions of trainings before, which spare the next training its checks and its layout.

A network's own last session serves the same training again. What its checks have found holds for other networks of the
kind, with losses and optimisers of the same classes and settings: copies of a network, folds, members of an ensemble.
"""

from __future__ import annotations

from typing import Any

from fastbp.engine.plan import NoPlan, plan_of
from fastbp.engine.refusals import require_mini_batches, require_own_parameters
from fastbp.engine.session import Session
from fastbp.engine.training_kind import what_counts
from fastbp.nn.losses.kernel_loss import KernelLoss
from fastbp.nn.module import Module
from fastbp.optim.optimizer import Optimizer
from fastbp.validation.user_methods import LibraryMethods
from fastbp_kernels.functions.losses.kernels import LossCall
from fastbp_kernels.network.arguments import Rows


def waiting_session(
    model: Module, criterion: Any, opt: Any, train: Rows, validation: Rows | None, mini_batch_size: int,
    loss: LossCall | None = None,
) -> Session | None:  # fmt: skip
    """Return the session of the model's last training, with these rows, if it serves this training as well."""
    waiting: Session | None = model._session
    if waiting is None or not waiting.serves(criterion, opt, train, validation, mini_batch_size):
        return None
    if not waiting.claim.acquire(False):
        return None
    waiting.take(train, validation, loss)
    return waiting


def session_of_kind(
    model: Module, criterion: Any, opt: Any, train: Rows, validation: Rows | None, mini_batch_size: int
) -> Session | None:
    """Return a new session of ``train_model`` if a training of the kind was checked before, else None.

    Raises
    ------
    ValueError
        What the checks say of this network and of these rows that they do not say of their kind.
    """
    plan = plan_of(model)
    if isinstance(plan, NoPlan) or plan.own_methods or not isinstance(criterion, KernelLoss):
        return None
    if criterion.checks_prediction or not isinstance(opt, Optimizer):
        return None
    sizes = what_counts(criterion, train, validation, mini_batch_size)
    if not plan.table.was_checked((type(opt), criterion._kind, *sizes)):
        return None
    methods = LibraryMethods(criterion, opt)
    if not methods.are_all:
        return None
    require_own_parameters("train_model", opt, plan.parameters)
    if plan.over_rows:
        require_mini_batches(model, train.n, mini_batch_size)
    return Session(model, criterion, opt, train, validation, mini_batch_size, checked=methods)


def session_for(
    model: Module, criterion: Any, opt: Any, train: Rows, validation: Rows | None, mini_batch_size: int
) -> Session:
    """Return the session of the model's last training if it serves this one as well, or a new one."""
    parts = model, criterion, opt, train, validation, mini_batch_size
    return waiting_session(*parts) or Session(*parts)

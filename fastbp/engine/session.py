"""A training in the engine: all that compiled calls need to know of these rows, this network, loss and optimiser.

Whoever trains, ``train_model`` and the estimators alike, asks a ``Session`` and decides only what to call and when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan, prod
from operator import is_
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np

from fastbp.engine.call_length import first_length
from fastbp.engine.compiled_train import is_compiled, room_for_results, run_train
from fastbp.engine.parallelism import divide
from fastbp.engine.plan import NoPlan, Plan, plan_of
from fastbp.engine.refusals import NotPlannable, require_dimensions, require_known_part, require_no_methods
from fastbp.engine.sparse_rows import SparseRows
from fastbp.engine.training_kind import what_counts
from fastbp.engine.workspace import KEPT_BYTES, Workspace, new_workspace
from fastbp.nn.losses.kernel_loss import KernelLoss
from fastbp.nn.module import Module
from fastbp.optim.optimizer import Optimizer
from fastbp.runtime.threads import Team
from fastbp.validation.arrays import Array
from fastbp.validation.user_methods import LibraryMethods
from fastbp_kernels.functions.gradient_clipping import NORM_SLAB
from fastbp_kernels.functions.losses.kernels import LossCall
from fastbp_kernels.functions.optimizers import SGD
from fastbp_kernels.functions.penalty import Penalty
from fastbp_kernels.layers.table import INTEGERS
from fastbp_kernels.linalg.product import K_BLOCK
from fastbp_kernels.network.arguments import (
    BY_ROWS,
    VALIDATION_BESIDE,
    Batches,
    Network,
    Results,
    Rows,
    Step,
)

NO_ORDER = np.empty((0, 0), np.int64)
_NO_SUMS = np.empty(0)
NO_PENALTY = Penalty(np.empty((0, 2), np.int64), _NO_SUMS, _NO_SUMS)
_NO_SPANS, _NO_SCALARS = np.empty((0, 4), np.int64), np.zeros((1, 1, 1))
_NO_STATE = {char: np.empty((0, 0), char) for char in "fd"}  # by the dtype's letter
_NO_ROWS = Rows(np.empty((0, 0)), np.empty((0, 0)), np.empty(0, np.int64), _NO_SUMS)


class Session:
    """A network, a loss and an optimiser in the engine, with the rows to train and to validate.

    The last one of a small network waits for the next training with the same parts and sizes, and what it has found
    serves other networks of the kind: see ``waiting_sessions``.

    Parameters
    ----------
    model : Module
    criterion : KernelLoss
    opt : Optimizer or None
        Over some or all parameters of the model; None to compute gradients alone.
    train : Rows
        One or more; targets as the criterion takes them.
    validation : Rows or None
    mini_batch_size : int
    loss : LossCall or None
        What the kernels compute, where that is not the criterion's own.
    owner : str
        Who trains, in errors.
    checked : LibraryMethods or None
        Of criterion and optimiser, where a training of the kind was checked before: see ``waiting_sessions``.

    Attributes
    ----------
    plan : Plan
    size : int
        Of a mini-batch.
    batches : int
        Mini-batches of an epoch.
    units : int
        Units of work of an epoch: its mini-batches, then the blocks of its validation.
    first_length : int
        Mini-batches of a first compiled call.
    claim : Lock
        Of who trains, until the session is at rest.

    Raises
    ------
    NotPlannable
        If the model, the criterion, the optimiser or the data's shapes are not of those that the engine knows.
    ValueError
        For numbers that are no targets.
    """

    def __init__(
        self, model: Module, criterion: Any, opt: Any, train: Rows, validation: Rows | None, mini_batch_size: int, *,
        loss: LossCall | None = None, owner: str = "train_model", checked: LibraryMethods | None = None,
    ) -> None:  # fmt: skip
        self.criterion: KernelLoss
        self.opt: Optimizer | None
        if checked is None:
            self.criterion = require_known_part(criterion, KernelLoss)
            self.opt = None if opt is None else require_known_part(opt, Optimizer)
        else:
            self.criterion, self.opt = criterion, opt
        self._methods = checked or LibraryMethods(*(part for part in (criterion, opt) if part is not None))
        plan = plan_of(model)
        if isinstance(plan, NoPlan):
            raise NotPlannable(plan.reason)
        if checked is None:
            require_no_methods(model, plan.own_methods)
            are_classes = self.criterion.takes_indices(train.target)
            require_dimensions(train.input, train.target, any_input=plan.flattens, are_classes=are_classes)
        self.plan: Plan = plan
        self._features, self._outputs = plan.first.in_features, plan.out_features
        self._owner, self._found_for = owner, what_counts(criterion, train, validation, mini_batch_size)
        self._parameters = None if opt is None else opt.parameters
        self.size = min(mini_batch_size, train.n)
        self._row_counts = train.n, 0 if validation is None else validation.n
        self.claim = Lock()
        self.claim.acquire()
        self._workspace: Workspace | None = None
        self._none: Rows | None = None
        self._sparse: SparseRows | None = train.input if isinstance(train.input, SparseRows) else None
        if self._sparse is not None and not plan.takes_sparse_rows:
            raise NotPlannable("sparse rows are taken by a Linear as the first layer, and another one is")
        self.divide()
        self.take(train, validation, loss)
        self.first_length = first_length(plan.flop_of(train.input), self.size)
        if checked is None and loss is None:
            plan.table.note_checked((type(opt), self.criterion._kind, *self._found_for))
        vars(model)["_session"] = self if plan.parameter.nbytes <= KEPT_BYTES else None

    def has_seen(self, criterion: Any, input: Any, target: Any) -> bool:
        """Whether rows of this kind, which need no copy, were checked for this session and criterion."""
        if criterion is not self.criterion or type(input) is not np.ndarray or type(target) is not np.ndarray:
            return False
        is_float, kind = target.dtype is input.dtype, (np.ndarray, input.shape, target.shape, input.dtype, target.dtype)
        return is_float and kind == self._found_for[0] and input.flags.carray and target.flags.carray

    def serves(self, criterion: Any, opt: Any, train: Rows, validation: Rows | None, mini_batch_size: int) -> bool:
        """Whether all that was checked and found for this session holds for such a training."""
        if criterion is not self.criterion or opt is not self.opt or not self.plan.flat.is_current:
            return False
        if opt is not None and opt.parameters is not self._parameters:
            return False
        if what_counts(criterion, train, validation, mini_batch_size) != self._found_for:
            return False
        return self._methods.still_hold()

    def take(self, train: Rows, validation: Rows | None = None, loss: LossCall | None = None) -> None:
        """Train and validate these rows from now on, which are of the same kind; to train maybe fewer at a time."""
        criterion = self.criterion
        self._rows = rows = self._for_kernels(train, "train_target")
        self._loss = loss or self._call_of(rows, train.target)
        self.batches = self.units = -(-len(train.input) // self.size)
        if validation is None:
            self._val_rows = self._none = self._none or rows.none()
            return
        self._val_rows = rows = self._for_kernels(validation, "val_target")
        self._val_scale = criterion.scale_of(self._call_of(rows, validation.target), rows.n, rows.classes, rows.weights)
        self.units += -(-rows.n // self.division.block_rows)
        self._val_counted = rows.n - np.count_nonzero(rows.classes < 0)  # in an accuracy

    def _for_kernels(self, rows: Rows, name: str) -> Rows:
        self.criterion.require_targets(rows.target, self._outputs, self._owner, name)
        target, classes = self.criterion.for_kernels(rows.target, rows.input.dtype)
        given: Any = rows.input
        input, shape = given, given.shape
        if isinstance(given, SparseRows):
            self._sparse, input = given, given.numbers
        elif self.plan.flattens:
            input = input.reshape(len(input), prod(shape[1:]))
            shape = input.shape
        n = shape[0]
        fits = classes.shape == (n,) if classes.size else target.shape == (n, self._outputs)
        if n and not (fits and shape[1] == self._features and rows.weights.size in (0, n)):
            raise ValueError(
                f"{self._owner} takes inputs (n, {self._features}), targets for {self._outputs} outputs and weights "
                f"(n,) or none, got {rows.input.shape}, {rows.target.shape} and {rows.weights.shape}"
            )
        if input is given and target is rows.target and not classes.size:
            return rows
        return Rows(input, target, classes, rows.weights)

    def _call_of(self, rows: Rows, target: Array) -> LossCall:
        criterion = self.criterion
        sums = rows.weights.size > 0 or criterion.sums_weights(rows.classes)
        return criterion.call(target, self._outputs, self.plan.dtype, sums)

    def divide(self, *, beside: bool = True) -> None:
        """Choose the division of labour; ``beside`` tells whether validation may be left to other threads."""
        plan = self.plan
        flop, is_sparse = plan.flop_of(self._sparse), self._sparse is not None
        sizes = flop, plan.parameter.size, self.size, *self._row_counts
        division = divide(*sizes, beside=beside, whole=plan.over_rows)
        if is_sparse:
            division = division._replace(is_sparse=True)
        self._may_fuse = not division.in_place and self.size <= K_BLOCK and plan.is_linear and not is_sparse
        self.division = division
        self._step_of: tuple[Any, ...] = (None,)  # what the last step was made for: nothing any more
        self._team = Team(division.ranks + division.validators)
        self._spare, self._workspace = plan.table.spare_for(division), None

    @property
    def is_compiled(self) -> bool:
        """Whether the engine's code for this dtype is there."""
        return is_compiled(self.plan.dtype)

    def __enter__(self) -> Session:
        """Take memory and, where it is not there, the compiled code: Ctrl-C may cut in."""
        try:
            self._workspace = self._spare.pop()
        except IndexError:
            self._workspace = new_workspace(self.plan, self.division)
        if not is_compiled(self.plan.dtype):
            self.call(0, 0, NO_ORDER, room_for_results(0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._team.ranks > 1:
            self._team.__exit__(kind, error, traceback)
        self.plan.flat.note_change()
        self.rest()

    def rest(self) -> None:
        """Let go of rows and memory, and wait for the next training."""
        workspace, self._workspace = self._workspace, None
        if workspace is not None and len(self._spare) < workspace.may_wait:
            self._spare.append(workspace)
        self._rows, self._val_rows, self._sparse = _NO_ROWS, _NO_ROWS, None
        self.claim.release()

    def call(
        self, first: int, stop: int, orders: Array, results: Results, max_norm: float | None = None,
        scheduled: Sequence[Mapping[str, Any]] | None = None, penalty: Penalty = NO_PENALTY,
    ) -> None:  # fmt: skip
        """Work on the units from ``first`` up to ``stop``, and have optimiser and counters know.

        Parameters
        ----------
        first, stop : int
            Counted from the start of the first epoch that the call touches.
        orders : ndarray of int64, shape (epochs, n) or (0, 0)
            In which each epoch takes the rows; without it as they stand.
        results : Results
            Written.
        max_norm : float or None
            What the norm of each mini-batch's gradient is clipped to.
        scheduled : sequence of mapping of str to ndarray, or None
            For each group of the optimiser the settings that differ from step to step.
        penalty : Penalty
        """
        plan, opt, team, workspace = self.plan, self.opt, self._team, self._workspace
        assert workspace is not None
        mode = self.division.mode
        if mode == VALIDATION_BESIDE and stop <= (first // self.units + 1) * self.units:
            mode, team = BY_ROWS, Team(1)  # no training follows the validation
        steps = self._trained_before(stop) - (self._trained_before(first) if first else 0)
        if self._sparse is not None:
            self._sparse.write_to(workspace.layers)
        for row, module in plan.counting:
            integers = module._integers()
            workspace.layers[row, INTEGERS : INTEGERS + len(integers)] = integers
        step = self._step_for(steps, max_norm, scheduled, penalty)
        if steps:
            for parameter in plan.parameters:  # the gradients of the last mini-batch are left behind
                parameter.has_grad = parameter._requires_grad
        state = _NO_STATE[plan.dtype.char] if opt is None else opt.state(plan.dtype)  # in which the step has its places
        run_train(
            team,
            plan.dtype,
            first,
            stop,
            Network(workspace.layers, plan.parameter, plan.grad, state, plan.scalars),
            Batches(self._rows, orders, self.size),
            self._val_rows,
            step,
            workspace.for_a_call(mode, self._fuses_update),
            results,
        )
        if opt is not None:
            opt.advance(steps)
        for _, module in plan.counting:
            module._note_mini_batches(steps)

    def _step_for(
        self, steps: int, max_norm: float | None, scheduled: Sequence[Mapping[str, Any]] | None, penalty: Penalty
    ) -> Step:
        """Return what is done with each of so many mini-batches."""
        opt, size, dtype = self.opt, self.plan.parameter.size, self.plan.dtype
        if opt is None:
            scalars, spans = _NO_SCALARS, _NO_SPANS
        else:
            scalars, spans = opt.scalars(steps, scheduled), opt.spans(self.plan.parameters)
        found_of = scalars, spans, self._loss, max_norm, penalty
        if not all(map(is_, found_of, self._step_of)):
            code = SGD if opt is None else opt.code
            norm_sums = _NO_SUMS if max_norm is None else np.empty(-(-size // NORM_SLAB))
            self._step = Step(self._loss, code, scalars.astype(dtype), spans, max_norm or 0.0, norm_sums, penalty)
            self._step_of = found_of
            is_whole = len(spans) == 1 and spans[0, 1] - spans[0, 0] == size
            is_plain = code == SGD and max_norm is None and not penalty.spans.size
            self._fuses_update = self._may_fuse and is_whole and is_plain
        return self._step

    def _trained_before(self, unit: int) -> int:
        """Return the number of mini-batches among so many units."""
        epochs, within = divmod(unit, self.units)
        return epochs * self.batches + min(within, self.batches)

    def validation(self, results: Results, finished: int) -> tuple[list[float], list[float]]:
        """Return losses and accuracies of the validation after each of so many finished epochs."""
        losses: list[float] = (results.val_sums[:finished] * self._val_scale).tolist()
        accuracies: list[float] = (results.val_hits[:finished] / (self._val_counted or nan)).tolist()
        return losses, accuracies

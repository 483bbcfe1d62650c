"""Training by the engine, in compiled calls of many mini-batches.

What a call finishes goes into the history in one block with the update of the parameters, so that whatever stops it
finds the two at the same mini-batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from operator import is_
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastbp.engine.call_length import first_length, next_length
from fastbp.engine.compiled_train import is_compiled, room_for_results, run_train
from fastbp.engine.parallelism import divide
from fastbp.engine.plan import NoPlan, Plan, plan_of
from fastbp.engine.refusals import NotPlannable, require_dimensions, require_kind, require_no_methods
from fastbp.engine.workspace import KEPT_BYTES, Workspace, workspace_for
from fastbp.nn.losses.kernel_loss import Checked, KernelLoss, no_weights
from fastbp.nn.module import Module
from fastbp.optim.optimizer import Optimizer as OptimizerBase
from fastbp.runtime.threads import Team, thread_limits
from fastbp.training.accuracy import records_accuracy
from fastbp.training.data import takes_classes
from fastbp.training.history import Backend, Position
from fastbp.training.loss_per_sample import LossPerSample
from fastbp.training.schedule import Part
from fastbp.training.training_run import Criterion, Epochs, Optimizer, Rows, TrainingRun
from fastbp.validation.arrays import Array
from fastbp.validation.user_methods import own_methods
from fastbp_kernels.functions.gradient_clipping import NORM_SLAB
from fastbp_kernels.functions.losses.kernels import LossCall
from fastbp_kernels.functions.optimizers import SGD
from fastbp_kernels.functions.penalty import Penalty
from fastbp_kernels.linalg.product import K_BLOCK
from fastbp_kernels.network.arguments import (
    BY_ROWS,
    VALIDATION_BESIDE,
    Network,
    Results,
    Step,
    TrainingRows,
    ValidationRows,
)
from fastbp_kernels.network.table import FORWARDS, SEED

if TYPE_CHECKING:
    from fastbp.training.repeated import Remembered


class EngineTrainer:
    """Trains by the engine, in compiled calls of many mini-batches.

    The last one of a small network waits for the next training with the same parts and sizes: see ``waiting_trainer``.

    Raises
    ------
    NotPlannable
        If the model, the criterion, the optimiser or the data's shapes are not of those that the engine knows.
    """

    backend: ClassVar[Backend] = "engine"

    def __init__(
        self,
        model: Module,
        criterion: Criterion,
        opt: Optimizer,
        train: Rows,
        validation: Rows | None,
        mini_batch_size: int,
    ) -> None:
        criterion, opt = require_kind(criterion, KernelLoss), require_kind(opt, OptimizerBase)
        for part in (criterion, opt):
            require_no_methods(part, own_methods(part))
        plan = plan_of(model)
        if isinstance(plan, NoPlan):
            raise NotPlannable(plan.reason)
        require_no_methods(model, plan.own_methods)
        are_classes = takes_classes(criterion, train.target)
        require_dimensions(train.input, train.target, any_input=plan.flattens, are_classes=are_classes)
        self._criterion, self._opt, self._plan = criterion, opt, plan
        self._found_for = self._what_counts(criterion, opt, train, validation, mini_batch_size)
        self._size = min(mini_batch_size, len(train))
        self.per_sample = LossPerSample(criterion, len(train), validation, self._size)
        self.batches = -(-len(train) // self._size)
        self._is_running = False
        self._workspace: Workspace | None = None
        self.remembered: Remembered | None = None
        self._none: Checked | None = None
        self._take(train, validation)
        self._divide()
        plan.trainer = self if plan.parameter.nbytes <= KEPT_BYTES else None
        self._first_length = first_length(plan.flop, self._size)

    def has_seen(self, criterion: Criterion, input: Any, target: Any, weights: Any) -> bool:
        """Whether rows of this kind, which need no copy, were checked for this trainer and criterion."""
        if criterion is not self._criterion or weights is not None:
            return False
        if type(input) is not np.ndarray or type(target) is not np.ndarray or target.dtype is not input.dtype:
            return False
        return Rows(input, target).kind() == self._found_for[0] and input.flags.carray and target.flags.carray

    def serves(
        self, criterion: Criterion, opt: Optimizer, train: Rows, validation: Rows | None, mini_batch_size: int
    ) -> bool:
        """Whether all that was checked and found for this trainer holds for such a training; then it takes the rows."""
        if criterion is not self._criterion or opt is not self._opt or self._is_running:
            return False
        if self._what_counts(criterion, opt, train, validation, mini_batch_size) != self._found_for:
            return False
        if own_methods(criterion) or own_methods(opt):
            return False
        for rows, name in ((train, "train_target"), (validation, "val_target")):
            if rows is not None:
                self._criterion.require_targets(rows.target, self._plan.out_features, "train_model", name)
        self._take(train, validation)
        return True

    def _take(self, train: Rows, validation: Rows | None) -> None:
        """Have the engine train and validate with these rows."""
        criterion, self._validation = self._criterion, validation
        self._rows = self._for_kernels(train)
        self._loss = self._call_of(self._rows, train.target)
        self._scores = False
        if validation is None:
            self._val_rows = self._none = self._none or self._rows.none()
        else:
            self._val_rows = rows = self._for_kernels(validation)
            self._val_scale = criterion.scale_of(self._call_of(rows, validation.target), *rows.counted())
            self._val_counted = len(rows.prediction) - np.count_nonzero(rows.classes < 0)  # in an accuracy
            self._scores = records_accuracy(criterion, validation)
        self.series = 1 + (validation is not None) + self._scores

    def _for_kernels(self, rows: Rows) -> Checked:
        rows = _flattened(self._plan, rows)
        values, classes = self._criterion.for_kernels(rows.target, rows.input.dtype)
        weights = no_weights(rows.input.dtype) if rows.weights is None else np.ascontiguousarray(rows.weights)
        return Checked(rows.input, values, classes, weights)

    def _call_of(self, rows: Checked, target: Array) -> LossCall:
        criterion = self._criterion
        sums = bool(rows.weights.size) or criterion.sums_weights(rows.classes)
        return criterion.call(target, self._plan.out_features, self._plan.dtype, sums)

    @staticmethod
    def _what_counts(
        criterion: KernelLoss, opt: OptimizerBase, train: Rows, validation: Rows | None, mini_batch_size: int
    ) -> tuple[Any, ...]:
        """Return what a trainer is found from, besides the network."""
        of_validation = None if validation is None else validation.kind()
        return train.kind(), of_validation, mini_batch_size, criterion.reduction, opt.parameters, thread_limits()

    def _divide(self, *, beside: bool = True) -> None:
        """Choose the division of labour; ``beside`` tells whether validation may be left to other threads."""
        plan, rows, val_rows = self._plan, len(self._rows.prediction), len(self._val_rows.prediction)
        whole = bool(plan.batch_norms)
        division = divide(plan.flop, plan.parameter.size, self._size, rows, val_rows, beside=beside, whole=whole)
        self._may_fuse = not division.in_place and self._size <= K_BLOCK and plan.is_linear
        self._division = division
        self._step_of: tuple[Any, ...] = (None,)  # what the last step was made for: nothing any more
        self._team = Team(division.ranks + division.validators)
        self._units = self.batches + -(-val_rows // division.block_rows)

    def train(self, run: TrainingRun) -> Iterator[None]:
        """Train, and yield after each compiled call."""
        self._is_running = True
        try:
            if run.stops_at_epochs and self._division.validators:  # there is nothing to do meanwhile
                self._divide(beside=False)
            if run.history.epochs == run.epochs and is_compiled(self._plan.dtype):
                return  # without taking memory
            self._workspace = workspace_for(self._plan, self._division)
            with self._team:
                yield from self._calls(run)
        finally:
            self._is_running, self._validation, self._workspace = False, None, None
            self._rows = self._val_rows = _NO_ROWS

    def _calls(self, run: TrainingRun) -> Iterator[None]:
        plan, history, units = self._plan, run.history, self._units
        if not is_compiled(plan.dtype):
            self._call([], 0, 0, room_for_results(0), run.clip_grad_norm)  # compiles where Ctrl-C can still cut in
        done, total = history.epochs * units + history.position.batches, run.epochs * units
        unfinished = None  # of the validation of the epoch that the next call goes on with: loss and hits
        length = self._first_length
        while done < total:
            run.require_unchanged()
            first_epoch = history.epochs
            stop = min(done + length, (first_epoch + 1) * units if run.stops_at_epochs else total, total)
            touched = -(-stop // units) - first_epoch
            results = room_for_results(touched)
            results.train_losses[0] = history.position.loss, history.position.weighted_loss
            if unfinished:
                results.val_sums[0], results.val_hits[0] = unfinished
            with run.held:
                orders = run.shuffler.draw(touched)
                first, behind = done - first_epoch * units, stop - first_epoch * units
                scheduled, go_on = None, _nothing
                if run.schedule:
                    scheduled, go_on = run.schedule.look_ahead(self._parts(first, behind))
                start = perf_counter()
                self._call(orders, first, behind, results, run.clip_grad_norm, scheduled)
                seconds = perf_counter() - start
                finished = self._record(run, first_epoch, stop, results)
                go_on()
                if run.schedule and run.schedule.stops_at_epochs and finished:
                    run.schedule.epoch_done(history)
            unfinished = (results.val_sums[-1], results.val_hits[-1]) if finished < touched else None
            if run.monitor:
                of_validation = history["val_loss"][first_epoch:] if self._validation else []  # NaN if that has no rows
                run.monitor.losses(first_epoch, results.nonfinite, of_validation)
            yield
            if stop < total:
                length = next_length(length, stop - done, seconds, run.deadline - start - seconds)
            done = stop

    def _record(self, run: TrainingRun, first_epoch: int, done: int, results: Results) -> int:
        """Write into the history what a call found that has come to the unit ``done``; return the finished epochs."""
        shuffler = run.shuffler
        finished = done // self._units - first_epoch
        losses = results.train_losses.tolist()
        shuffler.finish(finished)
        position = Position(generator=shuffler.state)
        if finished < len(losses):
            position.batches = min(done % self._units, self.batches)
            position.loss, position.weighted_loss = losses.pop()
        run.history.record(self._epochs(losses, results), position)
        return finished

    def _parts(self, first: int, stop: int) -> list[Part]:
        """Return what the units from ``first`` up to ``stop`` are of each epoch that they touch."""
        parts = []
        for start in range(0, stop, self._units):
            end, trained = start + self._units, start + self.batches
            batches = min(stop, trained) - min(max(first, start), trained)
            parts.append(Part(batches, stop >= end))
        return parts

    def _call(
        self,
        orders: list[Array],
        first: int,
        stop: int,
        results: Results,
        max_norm: float | None = None,
        scheduled: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Let the engine work on the units from ``first`` up to ``stop``, and the optimiser know."""
        plan, opt, team, workspace = self._plan, self._opt, self._team, self._workspace
        assert workspace is not None
        mode = self._division.mode
        if mode == VALIDATION_BESIDE and stop <= (first // self._units + 1) * self._units:
            mode, team = BY_ROWS, Team(1)  # no training follows the validation
        steps = self._steps_within(first, stop)
        for row, dropout in plan.dropouts:
            workspace.layers[row, [SEED, FORWARDS]] = dropout.seed, dropout.forwards
        for row, norm in plan.batch_norms:
            workspace.layers[row, FORWARDS] = norm.num_batches_tracked
        step = self._step_for(steps, max_norm, scheduled)
        run_train(
            team,
            plan.dtype,
            first,
            stop,
            Network(workspace.layers, plan.parameter, plan.grad, opt.state(plan.dtype), plan.scalars),
            TrainingRows(*self._rows, np.stack(orders) if orders else _NO_ORDER, self._size),
            ValidationRows(*self._val_rows),
            step,
            workspace.for_a_call(mode, self._fuses_update),
            results,
        )
        opt.advance(steps)
        for _, dropout in plan.dropouts:
            dropout.forwards += steps
        for _, norm in plan.batch_norms:
            norm.num_batches_tracked += steps * norm.training

    def _step_for(self, steps: int, max_norm: float | None, scheduled: Sequence[Mapping[str, Any]] | None) -> Step:
        """Return what is done with each of so many mini-batches."""
        opt, plan = self._opt, self._plan
        scalars, spans = opt.scalars(steps, scheduled), opt.spans(plan.parameters)
        found_of = scalars, spans, self._loss, max_norm
        if not all(map(is_, found_of, self._step_of)):
            norm_sums = _NO_SUMS if max_norm is None else np.empty(-(-plan.parameter.size // NORM_SLAB))
            of_dtype = scalars.astype(plan.dtype)
            self._step = Step(self._loss, opt.code, of_dtype, spans, max_norm or 0.0, norm_sums, _NO_PENALTY)
            self._step_of = found_of
            is_whole = len(spans) == 1 and spans[0, 1] - spans[0, 0] == plan.parameter.size
            self._fuses_update = self._may_fuse and opt.code == SGD and is_whole and max_norm is None
        return self._step

    def _steps_within(self, first: int, stop: int) -> int:
        """Return the number of mini-batches among the units from ``first`` up to ``stop``."""
        return self._trained_before(stop) - self._trained_before(first)

    def _trained_before(self, unit: int) -> int:
        epochs, within = divmod(unit, self._units)
        return epochs * self.batches + min(within, self.batches)

    def _epochs(self, train_losses: list[list[float]], results: Results) -> Epochs:
        """Return what the engine's sums say of finished epochs."""
        losses = [loss for loss, _ in train_losses]
        means = self.per_sample.train([weighted for _, weighted in train_losses])
        if self._validation is None:
            return Epochs(losses, [], [], means, [])
        finished, counted = len(losses), self._val_counted
        val_losses = (results.val_sums[:finished] * self._val_scale).tolist()
        accuracies = results.val_hits[:finished] / counted if counted else np.full(finished, np.nan)
        scores = accuracies.tolist() if self._scores else []
        return Epochs(losses, val_losses, scores, means, self.per_sample.val(val_losses))


def waiting_trainer(
    model: Module, criterion: Criterion, opt: Optimizer, train: Rows, validation: Rows | None, mini_batch_size: int
) -> EngineTrainer | None:
    """Return the trainer of the last training, if this one is like it: nothing is found anew."""
    trainer: EngineTrainer | None = plan_of(model).trainer
    if trainer is None or not trainer.serves(criterion, opt, train, validation, mini_batch_size):
        return None
    return trainer


def _flattened(plan: Plan, rows: Rows) -> Rows:
    """Return the rows as they come out of the network's ``Flatten``, if it has one."""
    if not plan.flattens:
        return rows
    return Rows(rows.input.reshape(len(rows), prod(rows.input.shape[1:])), rows.target, rows.weights)


def _nothing() -> None:
    """Go on where there is no schedule."""


_NO_SUMS = np.empty(0)
_NO_PENALTY = Penalty(np.empty((0, 2), np.int64), _NO_SUMS, _NO_SUMS)
_NO_ORDER = np.empty((0, 0), np.int64)
_NO_ROWS = Checked(np.empty((0, 0)), np.empty((0, 0)), np.empty(0, np.int64), np.empty(0))

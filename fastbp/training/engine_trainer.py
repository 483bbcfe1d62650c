"""Training by the engine, in compiled calls of many mini-batches.

What a call finishes goes into the history in one block with the update of the parameters, so that whatever stops it
finds the two at the same mini-batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any, ClassVar

import numpy as np

from fastbp.engine.parallelism import divide
from fastbp.engine.plan import NoPlan, NotPlannable, plan_of
from fastbp.engine.workspace import workspace_for
from fastbp.nn.losses import MSELoss
from fastbp.nn.module import Module
from fastbp.nn.overrides import own_methods
from fastbp.optim.sgd import SGD
from fastbp.runtime.threads import Team, thread_limits
from fastbp.training.history import Backend, Position
from fastbp.training.loss_means import LossMeans
from fastbp.training.metrics import has_classes
from fastbp.training.training_run import Criterion, Epochs, Optimizer, Rows, TrainingRun
from fastbp.validation.arrays import Array
from fastbp_kernels.network import engine
from fastbp_kernels.parallel.barrier import SYNC_SIZE
from fastbp_kernels.parallel.work_queue import offers_size

CALL_SECONDS = 0.1  # a compiled call's length: Ctrl-C and the progress bar wait for its end
_GROWTH = 8  # from one call to the next, at most: the speed of a short one says little
# Operations of the first call, whose speed is not known yet: 3 to 30 milliseconds; and those that take as long as what
# there is to do for a mini-batch of the smallest network.
_FIRST_FLOP = 3e8
_FLOP_PER_BATCH = 1e5


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
        if type(criterion) is not MSELoss:
            raise NotPlannable(f"the engine does not know {type(criterion).__name__}")
        if type(opt) is not SGD:
            raise NotPlannable(f"the engine does not know {type(opt).__name__}")
        for part in (criterion, opt):
            if own := own_methods(part):
                raise NotPlannable(f"the {type(part).__name__} has methods of its own: {', '.join(own)}")
        plan = plan_of(model)
        if isinstance(plan, NoPlan):
            raise NotPlannable(plan.reason)
        if plan.own_methods:
            raise NotPlannable(f"the {type(model).__name__} has methods of its own: {', '.join(plan.own_methods)}")
        if plan.parameters != set(opt.parameters):
            raise NotPlannable("the optimiser holds a part of the model's parameters only")
        if train.input.ndim != 2 or train.target.ndim != 2:
            raise NotPlannable("the engine takes inputs and targets of two dimensions")
        self._criterion, self._opt, self._plan = criterion, opt, plan
        self._train_rows = train
        self._validation = validation
        self._val_rows = Rows(train.input[:0], train.target[:0]) if validation is None else validation
        self._scores = validation is not None and has_classes(validation.target)
        self.series = 1 + (validation is not None) + self._scores
        self._means = LossMeans(criterion, train, validation, mini_batch_size)
        self._size = min(mini_batch_size, len(train))
        self.batches = -(-len(train) // self._size)
        self._batch_scales = np.full(self.batches, criterion.scale(self._size * plan.out_features))
        rest = len(train) - (self.batches - 1) * self._size
        self._batch_scales[-1] = criterion.scale(rest * plan.out_features)
        self._is_running = False
        self._last_weight = self._means.weight(rest)
        self._divide()
        self._found_for = self._what_counts(criterion, opt, train, mini_batch_size)
        plan.trainer = self if validation is None and plan.workspace is not None else None
        self._first_length = max(1, int(_FIRST_FLOP / (3 * plan.flop * self._size + _FLOP_PER_BATCH)))

    def serves(self, criterion: Criterion, opt: Optimizer, train: Rows, mini_batch_size: int) -> bool:
        """Whether all that was checked and found for this trainer holds for such a training; then it takes the rows."""
        if criterion is not self._criterion or opt is not self._opt or self._is_running:
            return False
        if self._what_counts(criterion, opt, train, mini_batch_size) != self._found_for:
            return False
        if own_methods(criterion) or own_methods(opt):
            return False
        self._train_rows = train
        return True

    @staticmethod
    def _what_counts(criterion: MSELoss, opt: SGD, train: Rows, mini_batch_size: int) -> tuple[Any, ...]:
        """Return what a trainer is found from, besides the network."""
        sizes = train.input.shape, train.target.shape, train.input.dtype, train.target.dtype, mini_batch_size
        return sizes, criterion.reduction, opt.parameters, thread_limits()

    def _divide(self, *, beside: bool = True) -> None:
        """Choose the division of labour; ``beside`` tells whether validation may be left to other threads."""
        plan, val_rows = self._plan, len(self._val_rows)
        division = divide(
            plan.flop, plan.parameter.size, self._size, len(self._train_rows), val_rows, beside=beside
        )  # fmt: skip
        self._workspace = workspace_for(plan, division)
        self._team = Team(division.ranks + division.validators)
        self._units = self.batches + -(-val_rows // division.block_rows)

    def train(self, run: TrainingRun) -> Iterator[None]:
        """Train, and yield after each compiled call."""
        self._is_running = True
        try:
            yield from self._train(run)
        finally:
            self._is_running = False
            self._train_rows = _NO_ROWS

    def _train(self, run: TrainingRun) -> Iterator[None]:
        if run.stops_at_epochs and self._workspace.division.validators:  # there is nothing to do meanwhile
            self._divide(beside=False)
        with self._team:
            yield from self._calls(run)

    def _calls(self, run: TrainingRun) -> Iterator[None]:
        plan, history, units = self._plan, run.history, self._units
        if plan.dtype not in _compiled:
            self._call([], 0, 0, *self._results(0))  # compiles where Ctrl-C can still cut in
            _compiled.add(plan.dtype)
        done, total = history.epochs * units + history.position.batches, run.epochs * units
        unfinished = 0.0, 0  # of the validation of the epoch that the next call goes on with: loss and hits
        length = self._first_length
        while done < total:
            run.require_unchanged()
            first_epoch = history.epochs
            stop = min(done + length, (first_epoch + 1) * units if run.stops_at_epochs else total, total)
            touched = -(-stop // units) - first_epoch
            batch_sums, val_sums, val_hits = results = self._results(touched)
            val_sums[0], val_hits[0] = unfinished
            with run.held:
                orders = run.shuffler.draw(touched)
                start = perf_counter()
                self._call(orders, done - first_epoch * units, stop - first_epoch * units, *results)
                seconds = perf_counter() - start
                self._record(run, stop, *results)
            finished = history.epochs - first_epoch
            unfinished = (val_sums[-1], val_hits[-1]) if finished < touched else (0.0, 0)
            length = max(1, min(_GROWTH * length, int((stop - done) * CALL_SECONDS / max(seconds, 1e-9))))
            done = stop
            if run.monitor and not history.is_finite_since(first_epoch):
                run.monitor.losses(first_epoch + 1, batch_sums, val_sums[:finished])
            yield

    def _results(self, epochs: int) -> tuple[Array, Array, Array]:
        """Return arrays for what the engine finds in so many epochs: sums of batches and of validation, and hits."""
        return np.zeros((epochs, self.batches)), np.zeros(epochs), np.zeros(epochs, np.int64)

    def _record(self, run: TrainingRun, done: int, batch_sums: Array, val_sums: Array, val_hits: Array) -> None:
        """Write into the history what a call found that has come to the unit ``done``."""
        history, shuffler = run.history, run.shuffler
        finished = done // self._units - history.epochs
        losses = batch_sums * self._batch_scales
        weighted = losses
        if self._last_weight != 1:
            weighted = losses.copy()
            weighted[:, -1] *= self._last_weight
        if history.position.batches:
            losses[0, history.position.batches - 1] = history.position.loss
            weighted[0, history.position.batches - 1] = history.position.weighted_loss
        # One by one, as the other trainer adds the losses: sum() would compensate and numpy.sum add in pairs.
        sums = losses if self.batches == 1 else losses.cumsum(axis=1)
        weighted = sums if weighted is losses else weighted.cumsum(axis=1)
        batches, position = min(done % self._units, self.batches), Position(generator=None)
        shuffler.finish(finished)
        if batches:
            position.batches, position.loss = batches, float(sums[-1, batches - 1])
            position.weighted_loss = float(weighted[-1, batches - 1])
        position.generator = shuffler.state
        ends = sums[:finished, -1]
        weighted_ends = ends if weighted is sums else weighted[:finished, -1]
        history.record(self._epochs(ends, weighted_ends, val_sums[:finished], val_hits[:finished]), position)

    def _call(
        self,
        orders: list[Array],
        first: int,
        stop: int,
        batch_sums: Array,
        val_sums: Array,
        val_hits: Array,
    ) -> None:
        plan, team, workspace, copies = self._plan, self._team, self._workspace, self._workspace.copies
        if len(copies) and stop <= (first // self._units + 1) * self._units:  # no training follows the validation
            team, copies = Team(1), copies[:0]
        team.run(
            engine.train,
            np.zeros(SYNC_SIZE + offers_size(len(copies)), np.int64),
            workspace.layers,
            plan.parameter,
            plan.grad,
            workspace.partial,
            copies,
            workspace.scratch,
            workspace.division.block_rows,
            workspace.slab_sums,
            self._train_rows.input,
            self._train_rows.target,
            np.stack(orders) if orders else _NO_ORDER,
            self._size,
            self._criterion.reduction == "mean",
            plan.dtype.type(self._opt.lr),
            self._val_rows.input,
            self._val_rows.target,
            first,
            stop,
            batch_sums,
            val_sums,
            val_hits,
        )

    def _epochs(self, sums: Array, weighted: Array, val_sums: Array, val_hits: Array) -> Epochs:
        """Return what the engine's sums say of finished epochs."""
        losses = sums.tolist()
        means = self._means.train(losses if weighted is sums else weighted.tolist())
        if self._validation is None:
            return Epochs(losses, [], [], means, [])
        rows = len(self._validation)
        val_losses = (val_sums * self._criterion.scale(rows * self._plan.out_features)).tolist()
        accuracies = val_hits / rows if rows else np.full(len(losses), np.nan)
        scores = accuracies.tolist() if self._scores else []
        return Epochs(losses, val_losses, scores, means, self._means.val(val_losses))


def waiting_trainer(
    model: Module, criterion: Criterion, opt: Optimizer, train: Rows, mini_batch_size: int
) -> EngineTrainer | None:
    """Return the trainer of the last training, if this one is like it and has no validation: nothing is found anew."""
    trainer: EngineTrainer | None = plan_of(model).trainer
    return trainer if trainer is not None and trainer.serves(criterion, opt, train, mini_batch_size) else None


_NO_ORDER = np.empty((0, 0), np.int64)
_NO_ROWS = Rows(np.empty((0, 0), np.float32), np.empty((0, 0), np.float32))
_compiled: set[np.dtype[Any]] = set()  # dtypes for which this process has the engine's code

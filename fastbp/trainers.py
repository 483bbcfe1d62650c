"""The two ways in which ``train_model`` trains: many mini-batches in one compiled call, or module by module.

Both go through the same kernels in the same order and give the same bits. What they finish goes into the history in one
block with the update of the parameters, so that whatever stops them finds the two at the same mini-batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from time import perf_counter
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.buffers import Buffer
from fastbp.course import Course, Criterion, Epochs, Optimizer, Rows, evaluation_of, loss_of
from fastbp.history import Position
from fastbp.loss_means import LossMeans
from fastbp.metrics import accuracy, has_classes
from fastbp.nn.losses import MSELoss
from fastbp.nn.module import Module
from fastbp.optim import SGD
from fastbp.overrides import own_methods
from fastbp.parallelism import divide
from fastbp.plan import NoPlan, NotPlannable, plan_of
from fastbp.threads import Team, thread_limits
from fastbp.workspace import workspace_for
from fastbp_kernels import engine
from fastbp_kernels.barrier import SYNC_SIZE
from fastbp_kernels.offers import offers_size

STRETCH_SECONDS = 0.1  # a compiled call's length: Ctrl-C and the progress bar wait for its end
_GROWTH = 8  # from one call to the next, at most: the speed of a short one says little
# Operations of the first call, whose speed is not known yet: 3 to 30 milliseconds; and those that take as long as what
# there is to do for a mini-batch of the smallest network.
_FIRST_FLOP = 3e8
_FLOP_PER_BATCH = 1e5


class ModuleTrainer:
    """Trains by calling the model's, the criterion's and the optimiser's own methods."""

    def __init__(
        self,
        model: Module,
        criterion: Criterion,
        opt: Optimizer,
        train: Rows,
        validation: Rows | None,
        mini_batch_size: int,
    ) -> None:
        self._model, self._criterion, self._opt = model, criterion, opt
        self._train, self._validation, self._size = train, validation, mini_batch_size
        self._input, self._target = Buffer(), Buffer()
        self._loss, self._evaluation = loss_of(criterion), evaluation_of(criterion)
        self.batches = -(-len(train) // mini_batch_size)
        self._scores = validation is not None and has_classes(validation.target)
        self.series = 1 + (validation is not None) + self._scores
        self._means = LossMeans(criterion, train, validation, mini_batch_size)

    def run(self, course: Course) -> Iterator[None]:
        """Train, and yield after each epoch."""
        history, orders = course.history, course.orders
        while history.epochs < course.epochs:
            course.require_unchanged()
            with course.held:
                drawn = orders.of_next(1)
            self._train_epoch(drawn[0] if drawn else None, course)
            val_loss, val_accuracy = self._evaluate()
            position, means = history.position, self._means
            train_mean, val_mean = means.train([position.weighted_loss]), means.val(val_loss)
            left = Epochs([position.loss], val_loss, val_accuracy, train_mean, val_mean)
            with course.held:
                orders.finish(1)
                history.record(left, Position(generator=orders.state))
            if course.watch and self._validation and not all(map(isfinite, left.val_loss)):
                course.watch.loss(history.epochs, None)
            yield

    def _train_epoch(self, order: Array | None, course: Course) -> None:
        """Train the mini-batches that are left of the epoch."""
        position, held = course.history.position, course.held
        for start in range(position.batches * self._size, len(self._train), self._size):
            stop = min(start + self._size, len(self._train))
            input = _batch(self._train.input, order, start, stop, self._input)
            target = _batch(self._train.target, order, start, stop, self._target)
            loss = float(self._loss(self._model(input), target))
            self._model.zero_grad()
            self._model.backward_parameters(self._criterion.backward())
            with held:
                self._opt.step()
                position.loss += loss
                position.weighted_loss += loss * self._means.weight(stop - start)
                position.batches += 1
            if course.watch and not isfinite(loss):
                course.watch.loss(course.history.epochs + 1, position.batches)

    def _evaluate(self) -> tuple[list[float], list[float]]:
        """Return loss and accuracy on the validation data, each in a list that is empty without."""
        data = self._validation
        if data is None:
            return [], []
        prediction = self._model.predict(data.input)
        loss = float(self._evaluation(prediction, data.target))
        return [loss], [accuracy(prediction, data.target)] if self._scores else []


def _batch(rows: Array, order: Array | None, start: int, stop: int, buffer: Buffer) -> Array:
    if order is None:
        return rows[start:stop]
    gathered = buffer.take((stop - start, *rows.shape[1:]), rows.dtype).array
    np.take(rows, order[start:stop], axis=0, out=gathered, mode="clip")  # "raise" would copy once more
    return gathered.view()


class EngineTrainer:
    """Trains by the engine, in compiled calls of many mini-batches.

    The last one of a small network waits for the next training with the same parts and sizes: see ``waiting_trainer``.

    Raises
    ------
    NotPlannable
        If the model, the criterion, the optimiser or the data's shapes are not of those that the engine knows.
    """

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
        self._train = train
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
        self._first_stretch = max(1, int(_FIRST_FLOP / (3 * plan.flop * self._size + _FLOP_PER_BATCH)))

    def serves(self, criterion: Criterion, opt: Optimizer, train: Rows, mini_batch_size: int) -> bool:
        """Whether all that was checked and found for this trainer holds for such a training; then it takes the rows."""
        if criterion is not self._criterion or opt is not self._opt or self._is_running:
            return False
        if self._what_counts(criterion, opt, train, mini_batch_size) != self._found_for:
            return False
        if own_methods(criterion) or own_methods(opt):
            return False
        self._train = train
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
            plan.flop, plan.parameter.size, self._size, len(self._train), val_rows, beside=beside
        )  # fmt: skip
        self._workspace = workspace_for(plan, division)
        self._team = Team(division.ranks + division.validators)
        self._units = self.batches + -(-val_rows // division.block_rows)

    def run(self, course: Course) -> Iterator[None]:
        """Train, and yield after each compiled call."""
        self._is_running = True
        try:
            yield from self._run(course)
        finally:
            self._is_running = False
            self._train = _NO_ROWS

    def _run(self, course: Course) -> Iterator[None]:
        if course.stops_at_epochs and self._workspace.division.validators:  # there is nothing to do meanwhile
            self._divide(beside=False)
        with self._team:
            yield from self._stretches(course)

    def _stretches(self, course: Course) -> Iterator[None]:
        plan, history, units = self._plan, course.history, self._units
        if plan.dtype not in _compiled:
            self._call([], 0, 0, *self._results(0))  # compiles where Ctrl-C can still cut in
            _compiled.add(plan.dtype)
        done, total = history.epochs * units + history.position.batches, course.epochs * units
        unfinished = 0.0, 0  # of the validation of the epoch that the next call goes on with: loss and hits
        stretch = self._first_stretch
        while done < total:
            course.require_unchanged()
            first_epoch = history.epochs
            stop = min(done + stretch, (first_epoch + 1) * units if course.stops_at_epochs else total, total)
            touched = -(-stop // units) - first_epoch
            batch_sums, val_sums, val_hits = results = self._results(touched)
            val_sums[0], val_hits[0] = unfinished
            with course.held:
                orders = course.orders.of_next(touched)
                start = perf_counter()
                self._call(orders, done - first_epoch * units, stop - first_epoch * units, *results)
                seconds = perf_counter() - start
                self._record(course, stop, *results)
            finished = history.epochs - first_epoch
            unfinished = (val_sums[-1], val_hits[-1]) if finished < touched else (0.0, 0)
            stretch = max(1, min(_GROWTH * stretch, int((stop - done) * STRETCH_SECONDS / max(seconds, 1e-9))))
            done = stop
            if course.watch and not history.is_finite_since(first_epoch):
                course.watch.losses(first_epoch + 1, batch_sums, val_sums[:finished])
            yield

    def _results(self, epochs: int) -> tuple[Array, Array, Array]:
        """Return arrays for what the engine finds in so many epochs: sums of batches and of validation, and hits."""
        return np.zeros((epochs, self.batches)), np.zeros(epochs), np.zeros(epochs, np.int64)

    def _record(self, course: Course, done: int, batch_sums: Array, val_sums: Array, val_hits: Array) -> None:
        """Write into the history what a call found that has come to the unit ``done``."""
        history, orders = course.history, course.orders
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
        orders.finish(finished)
        if batches:
            position.batches, position.loss = batches, float(sums[-1, batches - 1])
            position.weighted_loss = float(weighted[-1, batches - 1])
        position.generator = orders.state
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
            self._train.input,
            self._train.target,
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

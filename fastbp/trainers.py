"""The two ways in which ``train_model`` trains: many mini-batches in one compiled call, or module by module.

Both go through the same kernels in the same order and give the same bits. What they finish goes into the history in one
block with the update of the parameters, so that whatever stops them finds the two at the same mini-batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from time import perf_counter

import numpy as np

from fastbp.arrays import Array, aligned_zeros
from fastbp.buffers import Buffer
from fastbp.course import Course, Criterion, Epochs, Optimizer, Rows, evaluation_of, loss_of
from fastbp.history import Position
from fastbp.loss_means import LossMeans
from fastbp.metrics import accuracy, has_classes
from fastbp.nn.losses import MSELoss
from fastbp.nn.module import Module
from fastbp.optim import SGD
from fastbp.overrides import own_methods
from fastbp.plan import NoPlan, NotPlannable, Plan, plan_of
from fastbp.threads import Team, get_num_threads, ranks_for
from fastbp_kernels import engine
from fastbp_kernels.barrier import SYNC_SIZE
from fastbp_kernels.losses import SLAB
from fastbp_kernels.offers import offers_size
from fastbp_kernels.product import K_BLOCK

STRETCH_SECONDS = 0.1  # a compiled call's length: Ctrl-C and the progress bar wait for its end
_GROWTH = 8  # from one call to the next, at most: the speed of a short one says little
# Operations of the first call, whose speed is not known yet: 3 to 30 milliseconds; and those that take as long as what
# there is to do for a mini-batch of the smallest network.
_FIRST_FLOP = 3e8
_FLOP_PER_BATCH = 1e5

# Validation of so many operations or more is left to another thread, if it is a tenth of an epoch's work and the copies
# of the parameters stay in cache.
_FLOP_BESIDE = 2e5
_COPIED_PARAMETERS = 1 << 16
# Rows of a block at the least, so that validation does not pack the weights for a few rows at a time.
_VALIDATION_ROWS = 128
# Up to so many parameters, gradients for each thread cost less than sharing activations: several for each, so that they
# seldom wait for each other.
_PARTIAL_PARAMETERS = 1 << 16
_PARTIALS_EACH = 8


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
    shape = (stop - start, *rows.shape[1:])
    gathered = buffer.take(shape, rows.dtype).of(shape, rows.dtype)
    np.take(rows, order[start:stop], axis=0, out=gathered, mode="clip")  # "raise" would copy once more
    return gathered.view()


class EngineTrainer:
    """Trains by the engine, in compiled calls of many mini-batches.

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
        if set(opt.parameters) != set(model.parameters()):
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
        self._divide(plan)
        self._first_stretch = max(1, int(_FIRST_FLOP / (3 * plan.flop * self._size + _FLOP_PER_BATCH)))
        self._units = self.batches + -(-len(self._val_rows) // self._block_rows)

    def _divide(self, plan: Plan, *, beside: bool = True) -> None:
        """Choose the number of threads, the division of labour among them and the rows of a block; see the engine.

        ``beside`` tells whether validation may be left to other threads.
        """
        flop = 3 * plan.flop
        stretches = -(-self._size // K_BLOCK)
        ranks = ranks_for(flop * K_BLOCK * get_num_threads(), stretches)
        by_stretches = ranks > 1 and plan.parameter.size <= _PARTIAL_PARAMETERS
        if by_stretches:
            self._block_rows = K_BLOCK
        else:
            # Blocks cut a mini-batch only where gradients' sums are cut, and validation rows where losses' sums are.
            slabs = -(-max(self._size, _VALIDATION_ROWS) // SLAB)
            self._block_rows = min(engine.BLOCK_ROWS, slabs * SLAB)
            rows = min(self._size, self._block_rows)
            ranks = ranks_for(flop * rows, -(-rows // SLAB))
        # In place of the outputs, gradients stay in cache longer; apart from them, weights can follow theirs at once.
        in_place = by_stretches or (ranks == 1 and self._size > K_BLOCK)
        self._layers, size = plan.layout(self._block_rows, in_place=in_place)
        validators = self._validators(plan) if ranks == 1 and beside else 0
        self._team = Team(ranks + validators)
        places = 2 * validators  # one to work on and one that waits, for each
        self._copies = aligned_zeros(places * plan.parameter.size, plan.dtype).reshape(places, plan.parameter.size)
        each = self._team.ranks if by_stretches or validators else 1
        self._scratch = aligned_zeros(each * size, plan.dtype)
        partials = ranks * min(_PARTIALS_EACH, -(-stretches // ranks)) if by_stretches else 0
        self._partial = aligned_zeros(partials * plan.parameter.size, plan.dtype)
        self._slab_sums = np.zeros(max(each, partials) * (self._block_rows // SLAB))

    def _validators(self, plan: Plan) -> int:
        """Return the number of threads that validate beside the training: as many as keep pace with it."""
        rows, trained = len(self._val_rows), 3 * len(self._train)
        pays = plan.flop * rows >= _FLOP_BESIDE and 9 * rows >= trained and plan.parameter.size <= _COPIED_PARAMETERS
        return min(get_num_threads() - 1, -(-rows // trained)) if pays else 0

    def run(self, course: Course) -> Iterator[None]:
        """Train, and yield after each compiled call."""
        if course.stops_at_epochs and len(self._copies):  # there is nothing to do meanwhile
            self._divide(self._plan, beside=False)
        with self._team:
            yield from self._stretches(course)

    def _stretches(self, course: Course) -> Iterator[None]:
        history, units = course.history, self._units
        self._call([], 0, 0, *self._results(0))  # compiles where Ctrl-C can still cut in
        done, total = history.epochs * units + history.position.batches, course.epochs * units
        unfinished = 0.0, 0  # of the validation of the epoch that the next call goes on with: loss and hits
        stretch = self._first_stretch
        while done < total:
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
            if course.watch:
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
        weighted = losses.copy()
        weighted[:, -1] *= self._means.weight(len(self._train) - (self.batches - 1) * self._size)
        if history.position.batches:
            losses[0, history.position.batches - 1] = history.position.loss
            weighted[0, history.position.batches - 1] = history.position.weighted_loss
        # One by one, as the other trainer adds the losses: sum() would compensate and numpy.sum add in pairs.
        sums, weighted = np.cumsum(losses, axis=1), np.cumsum(weighted, axis=1)
        batches = min(done % self._units, self.batches)
        begun = [float(each[-1, batches - 1]) if batches else 0.0 for each in (sums, weighted)]
        orders.finish(finished)
        history.record(
            self._epochs(sums[:finished, -1], weighted[:finished, -1], val_sums[:finished], val_hits[:finished]),
            Position(batches, begun[0], orders.state, begun[1]),
        )

    def _call(
        self,
        orders: list[Array],
        first: int,
        stop: int,
        batch_sums: Array,
        val_sums: Array,
        val_hits: Array,
    ) -> None:
        plan, team, copies = self._plan, self._team, self._copies
        if len(copies) and stop <= (first // self._units + 1) * self._units:  # no training follows the validation
            team, copies = Team(1), copies[:0]
        team.run(
            engine.train,
            np.zeros(SYNC_SIZE + offers_size(len(copies)), np.int64),
            self._layers,
            plan.parameter,
            plan.grad,
            self._partial,
            copies,
            self._scratch,
            self._block_rows,
            self._slab_sums,
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
        losses, means = sums.tolist(), self._means.train(weighted.tolist())
        if self._validation is None:
            return Epochs(losses, [], [], means, [])
        rows = len(self._validation)
        val_losses = (val_sums * self._criterion.scale(rows * self._plan.out_features)).tolist()
        accuracies = val_hits / rows if rows else np.full(len(losses), np.nan)
        scores = accuracies.tolist() if self._scores else []
        return Epochs(losses, val_losses, scores, means, self._means.val(val_losses))


_NO_ORDER = np.empty((0, 0), np.int64)

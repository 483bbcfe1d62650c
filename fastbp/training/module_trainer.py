"""Training module by module: calls of the model's, the criterion's and the optimiser's own methods.

It goes through the same kernels as the engine, in the same order, and gives the same bits. What it finishes goes into
the history in one block with the update of the parameters, so that whatever stops it finds the two at one mini-batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from time import perf_counter
from typing import ClassVar

import numpy as np

from fastbp.nn.forward_state import ForwardState
from fastbp.nn.losses.backward_of import backward_of
from fastbp.nn.losses.kernel_loss import KernelLoss
from fastbp.nn.module import Module
from fastbp.nn.utils import clip_grad_norm_
from fastbp.runtime.buffers import Buffer
from fastbp.training.accuracy import accuracy, records_accuracy
from fastbp.training.data import takes_classes
from fastbp.training.history import Backend, Position
from fastbp.training.loss_per_sample import LossPerSample
from fastbp.training.training_run import Criterion, Epochs, Optimizer, TrainingRun, evaluation_of, guarded_rows
from fastbp.validation.arrays import Array
from fastbp_kernels.network.arguments import Rows


class ModuleTrainer:
    """Trains any model by any criterion and optimiser."""

    backend: ClassVar[Backend] = "modules"

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
        self._train_rows, self._validation = guarded_rows(train), validation and guarded_rows(validation)
        self._size = mini_batch_size
        self._input, self._target, self._weights = Buffer(), Buffer(), Buffer()
        self._evaluation = evaluation_of(criterion)
        self.batches = -(-train.n // mini_batch_size)
        self._scores = records_accuracy(criterion, validation)
        self._val_target = _marked(criterion, train if validation is None else validation)
        self.series = 1 + (validation is not None) + self._scores
        self.per_sample = LossPerSample(criterion, train.n, validation, min(mini_batch_size, train.n))

    def train(self, run: TrainingRun) -> Iterator[None]:
        """Train, and yield after each epoch, or where the time is over."""
        history, shuffler = run.history, run.shuffler
        while history.epochs < run.epochs:
            run.require_unchanged()
            with run.held:
                drawn = shuffler.draw(1)
            if not self._train_epoch(drawn[0] if drawn else None, run):
                yield
                continue
            val_loss, val_accuracy = self.evaluate()
            position, per_sample = history.position, self.per_sample
            train_mean, val_mean = per_sample.train([position.weighted_loss]), per_sample.val(val_loss)
            left = Epochs([position.loss], val_loss, val_accuracy, train_mean, val_mean)
            with run.held:
                shuffler.finish(1)
                history.record(left, Position(generator=shuffler.state))
                if run.schedule:
                    run.schedule.epoch_done(history)
            if run.monitor and self._validation and self._validation.n and not all(map(isfinite, left.val_loss)):
                run.monitor.loss(history.epochs, None)
            yield

    def _train_epoch(self, order: Array | None, run: TrainingRun) -> bool:
        """Train the mini-batches that are left of the epoch and return whether the time was enough for all."""
        position, state = run.history.position, ForwardState(self._model.modules())
        for start in range(position.batches * self._size, self._train_rows.n, self._size):
            finished = position.batches
            state.keep()
            try:
                self._train_batch(order, start, run)
            except BaseException:  # Ctrl-C, or what a method of the user's raises
                if position.batches == finished:
                    with run.held:
                        state.put_back()
                raise
            if perf_counter() >= run.deadline:
                return position.batches == self.batches
        return True

    def _train_batch(self, order: Array | None, start: int, run: TrainingRun) -> None:
        position, stop = run.history.position, min(start + self._size, self._train_rows.n)
        input = _batch(self._train_rows.input, order, start, stop, self._input)
        target = _batch(self._train_rows.target, order, start, stop, self._target)
        loss = backward_of(self._criterion, self._model, input, target, self._weights_of(order, start, stop))
        if run.clip_grad_norm is not None:
            clip_grad_norm_(self._model.parameters(), run.clip_grad_norm)
        with run.held:
            self._opt.step()
            position.loss += loss
            position.weighted_loss += loss * self.per_sample.weight(stop - start)
            position.batches += 1
            if run.schedule:
                run.schedule.batch_done()
        if run.monitor and not isfinite(loss):
            run.monitor.loss(run.history.epochs + 1, position.batches)

    def _weights_of(self, order: Array | None, start: int, stop: int) -> dict[str, Array]:
        """Return the argument of a criterion that takes weights of the mini-batch's rows."""
        weights = self._train_rows.weights
        return {} if not weights.size else {"sample_weight": _batch(weights, order, start, stop, self._weights)}

    def evaluate(self) -> tuple[list[float], list[float]]:
        """Return loss and accuracy on the validation data, each in a list that is empty without."""
        data = self._validation
        if data is None:
            return [], []
        prediction = self._model.predict(data.input)
        weights = {"sample_weight": data.weights} if data.weights.size else {}
        loss = float(self._evaluation(prediction, data.target, **weights))
        return [loss], [accuracy(prediction, self._val_target)] if self._scores else []


def _marked(criterion: Criterion, rows: Rows) -> Array:
    """Return targets with -1 in place of the class that ``criterion`` ignores."""
    if isinstance(criterion, KernelLoss) and takes_classes(criterion, rows.target):
        return criterion.for_kernels(rows.target, rows.weights.dtype)[1]
    return rows.target


def _batch(rows: Array, order: Array | None, start: int, stop: int, buffer: Buffer) -> Array:
    if order is None:
        return rows[start:stop]
    gathered = buffer.take((stop - start, *rows.shape[1:]), rows.dtype).array
    np.take(rows, order[start:stop], axis=0, out=gathered, mode="clip")  # "raise" would copy once more
    return gathered.view()

"""Training module by module: calls of the model's, the criterion's and the optimiser's own methods.

It goes through the same kernels as the engine, in the same order, and gives the same bits. What it finishes goes into
the history in one block with the update of the parameters, so that whatever stops it finds the two at one mini-batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import ClassVar

import numpy as np

from fastbp.nn.module import Module
from fastbp.nn.utils import clip_grad_norm_
from fastbp.runtime.buffers import Buffer
from fastbp.training.history import Backend, Position
from fastbp.training.loss_means import LossMeans
from fastbp.training.metrics import accuracy, has_classes
from fastbp.training.training_run import Criterion, Epochs, Optimizer, Rows, TrainingRun, evaluation_of, loss_of
from fastbp.validation.arrays import Array


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
        self._train_rows, self._validation, self._size = train, validation, mini_batch_size
        self._input, self._target = Buffer(), Buffer()
        self._loss, self._evaluation = loss_of(criterion), evaluation_of(criterion)
        self.batches = -(-len(train) // mini_batch_size)
        self._scores = validation is not None and has_classes(validation.target)
        self.series = 1 + (validation is not None) + self._scores
        self._means = LossMeans(criterion, train, validation, mini_batch_size)

    def train(self, run: TrainingRun) -> Iterator[None]:
        """Train, and yield after each epoch."""
        history, shuffler = run.history, run.shuffler
        while history.epochs < run.epochs:
            run.require_unchanged()
            with run.held:
                drawn = shuffler.draw(1)
            self._train_epoch(drawn[0] if drawn else None, run)
            val_loss, val_accuracy = self._evaluate()
            position, means = history.position, self._means
            train_mean, val_mean = means.train([position.weighted_loss]), means.val(val_loss)
            left = Epochs([position.loss], val_loss, val_accuracy, train_mean, val_mean)
            with run.held:
                shuffler.finish(1)
                history.record(left, Position(generator=shuffler.state))
                if run.schedule:
                    run.schedule.epoch_done(history)
            if run.monitor and self._validation and not all(map(isfinite, left.val_loss)):
                run.monitor.loss(history.epochs, None)
            yield

    def _train_epoch(self, order: Array | None, run: TrainingRun) -> None:
        """Train the mini-batches that are left of the epoch."""
        position, held = run.history.position, run.held
        for start in range(position.batches * self._size, len(self._train_rows), self._size):
            stop = min(start + self._size, len(self._train_rows))
            input = _batch(self._train_rows.input, order, start, stop, self._input)
            target = _batch(self._train_rows.target, order, start, stop, self._target)
            loss = float(self._loss(self._model(input), target))
            self._model.zero_grad()
            self._model.backward_parameters(self._criterion.backward())
            if run.clip_grad_norm is not None:
                clip_grad_norm_(self._model.parameters(), run.clip_grad_norm)
            with held:
                self._opt.step()
                position.loss += loss
                position.weighted_loss += loss * self._means.weight(stop - start)
                position.batches += 1
                if run.schedule:
                    run.schedule.batch_done()
            if run.monitor and not isfinite(loss):
                run.monitor.loss(run.history.epochs + 1, position.batches)

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

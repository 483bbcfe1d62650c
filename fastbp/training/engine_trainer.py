"""Training by the engine, in compiled calls of many mini-batches.

What a call finishes goes into the history in one block with the update of the parameters, so that whatever stops it
finds the two at the same mini-batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import ClassVar

import numpy as np

from fastbp.engine.call_length import next_length
from fastbp.engine.compiled_train import room_for_results
from fastbp.engine.refusals import NotPlannable, require_mini_batches
from fastbp.engine.session import NO_ORDER, Session
from fastbp.engine.waiting_sessions import session_for
from fastbp.nn.module import Module
from fastbp.training.accuracy import records_accuracy
from fastbp.training.history import Backend, Position
from fastbp.training.loss_per_sample import LossPerSample
from fastbp.training.schedule import Part
from fastbp.training.trained_parts import changed
from fastbp.training.training_run import Criterion, Epochs, Optimizer, TrainingRun
from fastbp.validation.arrays import Array
from fastbp_kernels.network.arguments import Results, Rows


class EngineTrainer:
    """Trains by a session of the engine: it decides how much each compiled call does, and records what comes of it.

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
        session: Session | None = None,
    ) -> None:
        if session is None:
            session = session_for(model, criterion, opt, train, validation, mini_batch_size)
        self._parts = model, criterion, opt, train, validation, mini_batch_size
        self._session = session
        self.per_sample = LossPerSample(criterion, len(train.input), validation, session.size)
        self.batches = session.batches
        self._val_rows = 0 if validation is None else validation.n
        self._scores = validation is not None and records_accuracy(criterion, validation)
        self.series = 1 + (validation is not None) + self._scores

    def train(self, run: TrainingRun) -> Iterator[None]:
        """Train, and yield after each compiled call."""
        if run.history.epochs == run.epochs and self._session.is_compiled:
            self._session.rest()  # without having taken memory
            return
        while True:
            session = self._session
            if run.stops_at_epochs and session.division.validators:  # there is nothing to do meanwhile
                session.divide(beside=False)
            with session:
                yield from self._calls(session, run)
            if run.history.epochs == run.epochs:
                return
            self._session = self._session_anew()

    def _session_anew(self) -> Session:
        """Return a session of the model as it is now."""
        model, _, _, train, _, mini_batch_size = self._parts
        require_mini_batches(model, train.n, mini_batch_size)
        try:
            return session_for(*self._parts)
        except NotPlannable as why:
            raise changed(f"the model was changed, {why},") from why

    def _calls(self, session: Session, run: TrainingRun) -> Iterator[None]:
        """Train to the end, or until the session is of another model than there is now."""
        history, flat = run.history, session.plan.flat
        units, batches, validates = session.units, session.batches, self.series > 1
        done, total = history.epochs * units + history.position.batches, run.epochs * units
        unfinished = None  # of the validation of the epoch that the next call goes on with: loss and hits
        length, is_first = session.first_length, True
        while done < total:
            if not is_first or run.stops_at_epochs or not flat.is_current:  # else nobody has looked yet
                run.require_unchanged()
            is_first = False
            if not flat.is_current:
                return
            first_epoch = done // units
            stop = min(done + length, (first_epoch + 1) * units if run.stops_at_epochs else total, total)
            touched = -(-stop // units) - first_epoch
            results = room_for_results(touched, validates=validates)
            losses, position = results.train_losses, history.position
            losses[0, 0], losses[0, 1] = position.loss, position.weighted_loss
            if unfinished:
                results.val_sums[0], results.val_hits[0] = unfinished
            with run.held:
                orders = run.shuffler.draw(touched)
                order = _stacked(orders) if orders else NO_ORDER
                first, behind = done - first_epoch * units, stop - first_epoch * units
                scheduled = go_on = None
                if run.schedule:
                    scheduled, go_on = run.schedule.look_ahead(_parts(first, behind, units, batches))
                start = perf_counter()
                session.call(first, behind, order, results, run.clip_grad_norm, scheduled)
                seconds = perf_counter() - start
                finished = self._record(run, first_epoch, stop, results)
                if go_on:
                    go_on()
                if run.schedule and run.schedule.stops_at_epochs and finished:
                    run.schedule.epoch_done(history)
            unfinished = (results.val_sums[-1], results.val_hits[-1]) if validates and finished < touched else None
            if run.monitor:
                of_validation = history["val_loss"][first_epoch:] if self._val_rows else []  # NaN if that has no rows
                run.monitor.losses(first_epoch, results.nonfinite, of_validation)
            yield
            if stop < total:
                length = next_length(length, stop - done, seconds, run.deadline - start - seconds)
            done = stop

    def _record(self, run: TrainingRun, first_epoch: int, done: int, results: Results) -> int:
        """Write into the history what a call found that has come to the unit ``done``; return the finished epochs."""
        shuffler, units = run.shuffler, self._session.units
        finished = done // units - first_epoch
        shuffler.finish(finished)
        position = Position(generator=shuffler.state)
        sums: list[list[float]] = results.train_losses.tolist()
        if finished < len(sums):
            position.batches = min(done % units, self.batches)
            position.loss, position.weighted_loss = sums.pop()
        run.history.record(self._epochs(sums, results), position)
        return finished

    def _epochs(self, sums: list[list[float]], results: Results) -> Epochs:
        """Return what the engine's sums say of finished epochs, of which ``sums`` are those of the training."""
        losses, counted = [loss for loss, _ in sums], self.per_sample.counted
        means = [weighted / counted for _, weighted in sums]
        if self.series == 1:
            return Epochs(losses, [], [], means, [])
        val_losses, accuracies = self._session.validation(results, len(sums))
        scores = accuracies if self._scores else []
        return Epochs(losses, val_losses, scores, means, self.per_sample.val(val_losses))


def _stacked(orders: list[Array]) -> Array:
    """Return the orders as rows: one as it is, for that is quicker."""
    return orders[0][None] if len(orders) == 1 else np.stack(orders)


def _parts(first: int, stop: int, units: int, batches: int) -> list[Part]:
    """Return what the units from ``first`` up to ``stop`` are of each epoch that they touch."""
    parts = []
    for start in range(0, stop, units):
        end, trained = start + units, start + batches
        parts.append(Part(min(stop, trained) - min(max(first, start), trained), stop >= end))
    return parts

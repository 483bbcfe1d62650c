"""A training under way, whatever trains: it is followed from epoch to epoch, until it ends or something stops it."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TypeAlias

import numpy as np

from fastbp.nn.module import Module
from fastbp.nn.parameter import FlatView
from fastbp.training.after_epoch import AfterEpoch, go_on_without_rule
from fastbp.training.block_trainer import BlockTrainer
from fastbp.training.engine_trainer import EngineTrainer
from fastbp.training.history import History
from fastbp.training.module_trainer import ModuleTrainer
from fastbp.training.training_run import TrainingRun

Trainer: TypeAlias = EngineTrainer | ModuleTrainer | BlockTrainer
Show: TypeAlias = Callable[[History], object]


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C in ``train_model``: the model is at a finished mini-batch.

    Attributes
    ----------
    history : History
        What was recorded so far. The same call with ``history=`` this one finishes the training.
    """

    def __init__(self, history: History) -> None:
        batches = history.position.batches
        where = f"after {history.epochs} epochs" + (f" and {batches} mini-batches" if batches else "")
        super().__init__(
            f"the training stopped {where}; the same call with history=<this exception>.history goes on from there"
        )
        self.history = history


def train_and_look(
    trainer: Trainer, run: TrainingRun, model: Module, flat: FlatView, show: Show | None, after: AfterEpoch | None
) -> None:
    """Let a training begin or go on, with what follows each of its epochs, until it ends or something stops it."""
    if after is None:
        if run.history.best is not None:
            go_on_without_rule(run, model)
        train_to_end(trainer, run, flat, show)
        return
    if not after.begin(run):
        train_to_end(trainer, run, flat, lambda history: after(run, show or _nothing))
    after.finish(run)


def _nothing(history: History) -> None:
    """Show nothing."""


def train_to_end(trainer: Trainer, run: TrainingRun, flat: FlatView, show: Show | None = None) -> None:
    """Train, show every epoch, and leave history and generator as they are to be found."""
    history, shuffler = run.history, run.shuffler
    before = shown = history.epochs
    start = perf_counter() - history.seconds
    shuffler.begin()
    history.position.generator = shuffler.state
    try:
        for _ in trainer.train(run):
            now, epochs = perf_counter(), history.epochs
            history.seconds = now - start
            if epochs > shown:
                shown = epochs
                stops = None if show is None else show(history)
                if stops is True or stops is np.True_:
                    history.stopped_by = history.stopped_by or "progress"
                    break
                now = perf_counter()
            if now >= run.deadline and history.position.batches < trainer.batches:
                history.stopped_by = "max_seconds"
                break
        if shown == run.epochs and history.stopped_by != "early_stopping":
            history.stopped_by = "epochs"
        if run.monitor and shown > before:
            run.monitor.parameters(flat, trainer.batches)
    finally:
        with run.held:
            shuffler.put_back(1 if history.position.batches else 0)
            history.seconds = perf_counter() - start

"""A training like the last one, as of an online learner that calls ``train_model`` for each sample.

What was checked and found for the arguments of the last call holds for the next one, where only the rows are others.
"""

from __future__ import annotations

from operator import is_
from typing import Any, NamedTuple

import numpy as np

from fastbp.nn.module import Module
from fastbp.runtime.interrupts import Interrupts
from fastbp.runtime.model_lock import holder
from fastbp.training.arguments import rows_of
from fastbp.training.engine_trainer import EngineTrainer
from fastbp.training.history import History, Setting
from fastbp.training.loop import Trainer, TrainingInterrupted, train_to_end
from fastbp.training.nonfinite import NonFiniteMonitor
from fastbp.training.progress import shows_bar
from fastbp.training.shuffle import EpochShuffler
from fastbp.training.training_run import Rows, TrainingRun


class Asked(NamedTuple):
    """The arguments of ``train_model`` but model, data, and those of which None is no request."""

    criterion: Any
    opt: Any
    epochs: Any
    mini_batch_size: Any
    on_nonfinite: Any
    scheduler_interval: Any
    shuffle: Any
    progress: Any


class Remembered(NamedTuple):
    """What the last training with a trainer was asked for, and how it was understood."""

    asked: Asked
    epochs: int
    setting: Setting


_IN_ORDER = EpochShuffler(None, 0)


def remember(trainer: Trainer, asked: Asked, epochs: int, setting: Setting) -> None:
    """Let the next call know this one, if its rows were taken in their order while nobody looked on."""
    if isinstance(trainer, EngineTrainer) and not asked.shuffle and not asked.progress:
        trainer.remembered = Remembered(asked, epochs, setting)


@holder
def train_again(model: Module, input: Any, target: Any, asked: Asked) -> History | None:
    """Train as the last call did, if it asked for the same with rows of the same kind; else return None."""
    plan = model._plan if isinstance(model, Module) else None
    trainer: EngineTrainer | None = plan.trainer if plan is not None and plan.is_current else None
    if trainer is None or trainer.remembered is None or type(input) is not np.ndarray:
        return None
    known, epochs, setting = trainer.remembered
    if not all(map(is_, asked, known)) or shows_bar(asked.progress):
        return None
    criterion, opt = asked.criterion, asked.opt
    if trainer.has_seen(criterion, input, target, None):
        rows = Rows(input, target)
    else:
        rows, *_ = rows_of(model, criterion, (input, target, None), (None, None, None))
    flat, history = model._current(), History()
    lock = flat.lock
    taken = lock.acquire()
    try:
        if not trainer.serves(criterion, opt, rows, None, setting.mini_batch_size):
            return None
        history.begin(setting, trainer.backend, "")
        with lock, Interrupts() as interrupts:
            monitor = NonFiniteMonitor(asked.on_nonfinite, history, rows, None, opt.lr)
            train_to_end(trainer, TrainingRun(history, epochs, _IN_ORDER, interrupts.held, monitor), flat)
    except KeyboardInterrupt:
        raise TrainingInterrupted(history) from None
    finally:
        taken.release()
    return history

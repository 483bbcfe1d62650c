"""The training loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from time import perf_counter

import numpy as np

from fastbp.engine.plan import NotPlannable, plan_of
from fastbp.nn.module import Module
from fastbp.nn.overrides import own_methods
from fastbp.nn.parameter import FlatView
from fastbp.nn.utils import require_limit
from fastbp.optim.lr_scheduler import LRScheduler
from fastbp.optim.optimizer import Optimizer as OptimizerBase
from fastbp.runtime.interrupts import Interrupts
from fastbp.runtime.model_lock import holder
from fastbp.training.data import require_model_dtype, require_pairs, takes_classes, try_first_row
from fastbp.training.engine_trainer import EngineTrainer, waiting_trainer
from fastbp.training.history import History, Setting
from fastbp.training.module_trainer import ModuleTrainer
from fastbp.training.nonfinite import NonFiniteMonitor, OnNonfinite
from fastbp.training.progress import ProgressBar
from fastbp.training.schedule import Interval, require_schedule
from fastbp.training.shuffle import EpochShuffler, generator_at
from fastbp.training.training_run import Criterion, Optimizer, Rows, TrainingRun
from fastbp.validation.arrays import Array, RandomSource, plain
from fastbp.validation.classes import class_indices, require_integers


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


@holder
def train_model(
    model: Module,
    train_input: Array,
    train_target: Array,
    val_input: Array | None,
    val_target: Array | None,
    criterion: Criterion,
    opt: Optimizer,
    epochs: int,
    mini_batch_size: int,
    *,
    shuffle: bool = False,
    rng: RandomSource = None,
    progress: bool | Callable[[History], object] | None = None,
    history: History | None = None,
    on_nonfinite: OnNonfinite = "warn",
    scheduler: LRScheduler | None = None,
    scheduler_interval: Interval = "epoch",
    clip_grad_norm: float | None = None,
) -> History:
    """Train ``model`` by mini-batches and return the course of the losses.

    Each mini-batch sets the gradients to zero, runs forward, loss and backward, and steps the optimiser. The last
    mini-batch of an epoch may be short and counts like any other.

    Parameters
    ----------
    model : Module
    train_input, train_target : ndarray of shape (n, ...)
        One row a sample, in the model's dtype; targets of ``CrossEntropyLoss`` are integers of shape (n,).
    val_input, val_target : ndarray of shape (m, ...), or both None
        Evaluated after every epoch.
    criterion : MSELoss, CrossEntropyLoss, or any object with ``forward(prediction, target)`` and ``backward()``
        One of your own that returns the sum over a batch's rows says so by ``reduction = "sum"``; see ``History``.
    opt : SGD, Adam, or any object with ``step()``
        Over parameters of ``model``.
    epochs : int
        Passes over the training data, 0 or more; with ``history`` those that it has already count.
    mini_batch_size : int
        Rows a mini-batch, 1 or more.
    shuffle : bool
        Whether each epoch takes the rows in a new random order, ``rng.permutation(n)``.
    rng : numpy.random.Generator, int or None
        Source of the orders, or its seed; only with ``shuffle``. With a ``history`` that has begun it goes on from the
        state noted there.
    progress : bool, callable or None
        Whether to show a tqdm bar; None shows it at a terminal or in a notebook. A callable is called with the history
        after every epoch, when the model is at the end of that epoch. If it returns True, the training ends there; any
        other value is ignored. (tqdm's ``update`` returns True at times: call it in a function that returns nothing.)
    history : History or None
        Where to record the course. One of a training that stopped lets it go on, with the same bits as if it had not
        stopped: by an exception, by ``progress``, or at fewer epochs. One that has all ``epochs`` already is returned
        with a ``UserWarning``.
    on_nonfinite : "raise", "warn" or "ignore"
        What to do when a loss, or at the end a parameter, is NaN or infinite: raise ``DivergenceError`` after the
        compiled call in which it happened, warn once by ``DivergenceWarning``, or nothing.
    scheduler : LRScheduler or None
        One of ``fastbp.optim.lr_scheduler`` over ``opt``, whose step is taken after each epoch, that of
        ``ReduceLROnPlateau`` with the validation loss per sample, or without validation data the training loss.
        Training that goes on with a ``history`` takes the scheduler as it was left.
    scheduler_interval : "epoch" or "batch"
        Whether a step is taken after each epoch or after each mini-batch.
    clip_grad_norm : float or None
        What the norm of each mini-batch's gradient is clipped to, as by ``fastbp.nn.utils.clip_grad_norm_`` over
        ``model.parameters()``.

    Returns
    -------
    History
        ``history``, or a new one.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit each other, before anything changes. What a module or criterion of your own raises
        when it is tried on the first row passes unchanged.
    RuntimeError
        If another thread is using the model.
    TrainingInterrupted
        On Ctrl-C. The model is at a finished mini-batch and the exception holds the history; so it is, with
        ``history``, after an exception from ``progress``.

    Notes
    -----
    A ``Sequential`` of ``Linear`` layers and activations, trained by the library's losses and optimisers, runs in one
    compiled engine. Anything else is trained module by module, with the same results where both can;
    ``History.backend`` tells which, and ``History.fallback_reason`` why.

    Beside the model and the data, the engine takes memory for one block of at most 512 rows: for each row at most twice
    the layers' outputs, three times behind an activation that keeps its input, plus the inputs, each rounded up to
    whole cache lines and for multiples of 1,024 bytes to one more. Up to 65,536 parameters, the memory grows with the
    number of threads: those that share many rows have each a block of 256 rows and up to 8 gradients, those that
    validate beside the training have each a block and two copies of the parameters. With ``shuffle``, the orders of
    the epochs that one compiled call of about 0.1 seconds goes through take up to 16 bytes a row and epoch.
    Arrays that are not C-contiguous, aligned and writeable are copied once.
    """
    epochs = _count("epochs", epochs, 0)
    mini_batch_size = _count("mini_batch_size", mini_batch_size, 1)
    _check_parts(model, criterion, opt)
    schedule = require_schedule(scheduler, scheduler_interval, opt)
    if clip_grad_norm is not None:
        clip_grad_norm = require_limit(clip_grad_norm, "train_model", "clip_grad_norm")
    if (val_input is None) != (val_target is None):
        raise ValueError("train_model takes val_input and val_target together, got only one of them")
    pairs = [{"train_input": train_input, "train_target": train_target}]
    if val_input is not None and val_target is not None:
        pairs.append({"val_input": val_input, "val_target": val_target})
    pairs = _checked_pairs(model, criterion, pairs)
    train, validation = Rows(*pairs[0].values()), Rows(*pairs[1].values()) if len(pairs) > 1 else None
    if history is None:
        history = History()
    elif not isinstance(history, History):
        raise TypeError(f"train_model takes history as a fastbp.History, got {type(history).__name__}")
    flat = model._current()
    lock = flat.lock
    taken = lock.acquire()
    try:
        trainer: EngineTrainer | ModuleTrainer | None = None
        if validation is None:
            trainer, reason = waiting_trainer(model, criterion, opt, train, mini_batch_size), ""
        if trainer is None:
            _check_parameters(opt, model)
            for pair in pairs:
                try_first_row("train_model", model, criterion, pair)
            trainer, reason = _choose_trainer(model, criterion, opt, train, validation, mini_batch_size)
        setting = Setting(len(train), mini_batch_size, bool(shuffle), trainer.series, plan_of(model).description)
        history.check_going_on(setting, epochs)
        if schedule:
            left = epochs - history.epochs
            schedule.require_steps(left * trainer.batches - history.position.batches, left)
        state = history.position.generator if history.has_begun else None
        generator = generator_at(rng, bool(shuffle), state)
        monitor = NonFiniteMonitor(on_nonfinite, history, train, validation, getattr(opt, "lr", None))
        history.warn_if_complete(epochs)
        bar = ProgressBar(False if callable(progress) else progress, epochs, history.epochs)

        if state is not None and generator is not None:
            generator.bit_generator.state = state
        history.backend, history.fallback_reason, history.setting = trainer.backend, reason, setting
        shuffler = EpochShuffler(generator if shuffle else None, len(train))
        with lock, Interrupts() as interrupts, closing(bar):
            # Only a progress of the user's sets methods meanwhile, and only the engine does not look for them.
            parts = _Parts(flat, criterion, opt, callable(progress) and isinstance(trainer, EngineTrainer))
            run = TrainingRun(
                history, epochs, shuffler, interrupts.held, monitor, parts.require_unchanged,
                callable(progress) or (schedule is not None and schedule.stops_at_epochs), schedule, clip_grad_norm,
            )  # fmt: skip
            _train(trainer, run, flat, progress if callable(progress) else bar.show)
    except KeyboardInterrupt:
        raise TrainingInterrupted(history) from None
    finally:
        taken.release()
    return history


class _Parts:
    """What is trained, as it was at the beginning."""

    def __init__(self, flat: FlatView, criterion: Criterion, opt: Optimizer, are_methods_fixed: bool) -> None:
        self._flat, self._criterion, self._opt = flat, criterion, opt
        self._are_methods_fixed = are_methods_fixed
        self._reduction = getattr(criterion, "reduction", None)

    def require_unchanged(self) -> None:
        """Raise RuntimeError if ``progress``, or whoever else, has changed what a training goes by."""
        what = ""
        if not self._flat.is_current:
            what = "a module or a parameter of the model was set, moved, converted or frozen"
        elif getattr(self._criterion, "reduction", None) != self._reduction:
            what = "the criterion's reduction was set"
        elif self._are_methods_fixed and (own_methods(self._criterion) or own_methods(self._opt)):
            what = "a method of the criterion or the optimiser was set"
        if what:
            raise RuntimeError(
                f"{what} during the training, which stopped there; call train_model again with history= the history so "
                "far to go on"
            )


def _train(
    trainer: EngineTrainer | ModuleTrainer, run: TrainingRun, flat: FlatView, show: Callable[[History], object]
) -> None:
    """Train, show every progress, and leave history and generator as they are to be found."""
    history, before = run.history, run.history.epochs
    shown = before
    start = perf_counter() - history.seconds
    history.position.generator = run.shuffler.state
    try:
        for _ in trainer.train(run):
            history.seconds = perf_counter() - start
            if history.epochs > shown:
                shown = history.epochs
                stops = show(history)
                if isinstance(stops, bool | np.bool_) and stops:
                    break
        if run.monitor and shown > before:
            run.monitor.parameters([data for data, _ in flat.runs], trainer.batches)
    finally:
        with run.held:
            run.shuffler.put_back(1 if history.position.batches else 0)
            history.seconds = perf_counter() - start


def _choose_trainer(
    model: Module, criterion: Criterion, opt: Optimizer, train: Rows, validation: Rows | None, mini_batch_size: int
) -> tuple[EngineTrainer | ModuleTrainer, str]:
    """Return the trainer, the engine's wherever that knows all parts, and else the reason why not."""
    try:
        return EngineTrainer(model, criterion, opt, train, validation, mini_batch_size), ""
    except NotPlannable as reason:
        return ModuleTrainer(model, criterion, opt, train, validation, mini_batch_size), str(reason)


def _count(name: str, value: int, least: int) -> int:
    """Return ``value`` as an int of any size: NumPy's own would overflow in products."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"train_model takes {name} as an int, got {value!r}")
    if value < least:
        raise ValueError(f"train_model takes {name} of {least} or more, got {value}")
    return int(value)


def _check_parts(model: Module, criterion: Criterion, opt: Optimizer) -> None:
    if not isinstance(model, Module):
        raise TypeError(f"train_model takes a fastbp.nn.Module as model, got {type(model).__name__}")
    for name, part, methods in (("criterion", criterion, ("forward", "backward")), ("opt", opt, ("step",))):
        for method in methods:
            if isinstance(part, type) or not callable(getattr(part, method, None)):
                raise TypeError(f"train_model takes {name} as an object with {method}(), got {part!r}")


def _checked_pairs(model: Module, criterion: Criterion, pairs: list[dict[str, Array]]) -> list[dict[str, Array]]:
    """Return pairs of inputs and targets, by the arguments' names, as the kernels take them.

    Classes are copied: one that somebody changes during the training would be an index beyond the outputs.
    """
    floats = pairs[0] if len(pairs) == 1 else {**pairs[0], **pairs[1]}
    if takes_classes(criterion):
        floats = {name: array for name, array in floats.items() if name.endswith("input")}
        for pair in pairs:
            name = next(reversed(pair))
            pair[name] = class_indices(require_integers(pair[name], "train_model", name))
    require_model_dtype("train_model", model, floats)
    for pair in pairs:
        require_pairs(pair)
    if not len(pairs[0]["train_input"]):
        raise ValueError("train_model takes one training row or more, got none")
    return [{name: plain(array) for name, array in pair.items()} for pair in pairs]


def _check_parameters(opt: Optimizer, model: Module) -> None:
    if isinstance(opt, OptimizerBase):
        own = plan_of(model).parameters
        for parameter in opt.parameters:
            if parameter not in own:
                raise ValueError(
                    f"train_model takes an optimiser over the model's parameters, got one with a parameter of shape "
                    f"{parameter.shape} that is not the model's; build it from model.parameters()"
                )

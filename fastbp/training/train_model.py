"""The one call that trains: its arguments are checked here, and what trains is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter

from fastbp.engine.plan import plan_of
from fastbp.engine.refusals import NotPlannable, require_mini_batches, require_own_parameters
from fastbp.engine.waiting_sessions import session_of_kind, waiting_session
from fastbp.nn.module import Module
from fastbp.nn.utils.clip_grad import require_limit
from fastbp.optim.lr_scheduler import LRScheduler
from fastbp.optim.optimizer import Optimizer as OptimizerBase
from fastbp.runtime.interrupts import Interrupts
from fastbp.runtime.model_lock import training
from fastbp.training.after_epoch import after_epoch
from fastbp.training.arguments import (
    count,
    named_pairs,
    positive_seconds,
    require_history,
    require_parts,
    rows_of,
)
from fastbp.training.block_trainer import BlockTrainer
from fastbp.training.data import require_number_of, try_first_row
from fastbp.training.early_stopping import EarlyStopping
from fastbp.training.engine_trainer import EngineTrainer
from fastbp.training.history import History, TrainingSetup
from fastbp.training.loop import Show, Trainer, TrainingInterrupted, train_and_look
from fastbp.training.metrics import Metric
from fastbp.training.module_trainer import ModuleTrainer
from fastbp.training.nonfinite import NonFiniteMonitor, OnNonfinite
from fastbp.training.progress import ProgressBar, shows_bar
from fastbp.training.row_blocks import BlockReader, RowBlocks
from fastbp.training.schedule import Interval, require_schedule
from fastbp.training.shuffle import EpochShuffler, shuffler_for
from fastbp.training.trained_parts import TrainedParts
from fastbp.training.training_run import Criterion, Optimizer, TrainingRun
from fastbp.validation.arrays import Array, RandomSource
from fastbp_kernels.network.arguments import Rows


def train_model(
    model: Module,
    train_input: Array | RowBlocks,
    train_target: Array | None,
    val_input: Array | None,
    val_target: Array | None,
    criterion: Criterion,
    opt: Optimizer,
    epochs: int,
    mini_batch_size: int,
    *,
    sample_weight: Array | None = None,
    val_sample_weight: Array | None = None,
    shuffle: bool = False,
    rng: RandomSource = None,
    progress: bool | Callable[[History], object] | None = None,
    history: History | None = None,
    on_nonfinite: OnNonfinite = "warn",
    metrics: Iterable[str | Metric] | Mapping[str, Metric] | None = None,
    early_stopping: EarlyStopping | None = None,
    max_seconds: float | None = None,
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
    train_input, train_target : ndarray of shape (n, ...), or RowBlocks and None
        One row a sample, in the model's dtype; class indices of ``CrossEntropyLoss`` and ``NLLLoss`` are integers of
        shape (n,). Data larger than memory come as ``numpy.memmap``, which is not copied, or as ``RowBlocks``.
    val_input, val_target : ndarray of shape (m, ...), or both None
        Evaluated after every epoch.
    criterion : a loss of ``fastbp.nn``, or any object with ``forward(prediction, target)`` and ``backward()``
        One of your own that returns the sum over a batch's rows says so by ``reduction = "sum"``; see ``History``.
    opt : an optimiser of ``fastbp.optim``, or any object with ``step()``
        Over parameters of ``model``.
    epochs : int
        Passes over the training data, 0 or more; with ``history`` those that it has already count.
    mini_batch_size : int
        Rows a mini-batch, 1 or more.
    sample_weight, val_sample_weight : ndarray of shape (n,) and (m,), or None
        A weight of 0 or more for each row, in the model's dtype, by which its loss is multiplied. A mean over a
        mini-batch divides by the sum of its weights, times the elements of a row where each has a loss. A mini-batch
        whose weights sum to 0 has a loss of 0 and no gradient; the optimiser steps all the same. A criterion of your
        own gets them as ``forward(prediction, target, sample_weight=...)``.
    shuffle : bool
        Whether each epoch takes the rows in a new random order, ``rng.permutation(n)``; of ``RowBlocks`` each block.
    rng : numpy.random.Generator, int or None
        Source of the orders, or its seed; only with ``shuffle``. With a ``history`` that has begun it goes on from the
        state noted there.
    progress : bool, callable or None
        Whether to show a tqdm bar; None shows it at a terminal or in a notebook. A callable is called with the history
        after every epoch, when the model is at the end of that epoch. It may call ``model.eval()``, predict, freeze
        parameters, add groups to the optimiser or set a dropout's ``p``: the next epoch goes by what is set then, as a
        loop of one's own does. If it returns True, the training ends there; any
        other value is ignored. (tqdm's ``update`` returns True at times: call it in a function that returns nothing.)
    history : History or None
        Where to record the course. One of a training that stopped lets it go on, with the same bits as if it had not
        stopped: by an exception, by ``progress``, by ``max_seconds``, or at fewer epochs; ``History.stopped_by`` tells.
        One that has all ``epochs`` already is returned with a ``UserWarning``.
    on_nonfinite : "raise", "warn" or "ignore"
        What to do when a loss, or at the end a parameter, is NaN or infinite: raise ``DivergenceError`` after the
        compiled call in which it happened, warn once by ``DivergenceWarning``, or nothing.
    metrics : list of names and functions, mapping of names to functions, or None
        Computed from the predictions for the validation data after every epoch and recorded as "val_<name>":
        "accuracy" (see ``compute_accuracy``), "mae" (mean absolute error), "r2", or functions ``metric(prediction,
        target)`` that return a number. They are called once before the training too, to see that they fit.
    early_stopping : EarlyStopping or None
        When the training ends because it has not become better. The model then has its state of the best epoch,
        ``History.best_epoch``, and so it has after all ``epochs``; where ``progress`` or ``max_seconds`` end the call,
        it has the last one. The engine comes back to Python after every epoch.
    max_seconds : float or None
        Time after which this call ends, at the next finished mini-batch, in the engine within about 0.1 seconds; an
        epoch whose mini-batches are finished is validated first. The same call goes on, with the same bits.
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
        when it is tried on the first row, or a metric when it is tried, passes unchanged. For a later one of
        ``RowBlocks`` that does not fit, behind the block before it.
    RuntimeError
        If another thread is using the model.
    TrainingInterrupted
        On Ctrl-C. The model is at a finished mini-batch.

    Whatever exception ends a training, such as one from ``progress``, has the history so far as its attribute
    ``history``; the same call with ``history=`` that one goes on.

    Notes
    -----
    A ``Sequential`` of the library's modules, trained by its losses and optimisers, runs in one compiled engine.
    Anything else, such as modules of your own, is trained module by module, with the same results where both can;
    ``History.backend`` tells which, and ``History.fallback_reason`` why.

    Beside the model and the data, the engine takes memory for one block of at most 512 rows, or with ``BatchNorm1d``
    for a whole mini-batch: for each row at most twice the layers' outputs, once more behind an activation that keeps
    its input, for a normalisation and for a ``PReLU``, plus the inputs, each rounded up to whole cache
    lines and for multiples of 1,024 bytes to one more. Up to 65,536 parameters, the memory grows with the number of
    threads: those that share many rows have each a block of 256 rows and up to 8 gradients, those that validate beside
    the training have each a block and two copies of the parameters. With ``shuffle``, the orders of
    the epochs that one compiled call of about 0.1 seconds goes through take up to 16 bytes a row and epoch.
    Products of wide layers borrow 4 MiB for each thread, which the process keeps for the next ones. So it does with
    what a small training worked in: up to 1 MiB for trainings of one kind, of the last 16 kinds of networks.
    Arrays that are not C-contiguous and aligned are copied once; class indices always are. Of ``RowBlocks`` one block
    is kept at a time.
    """
    epochs, mini_batch_size = count("epochs", epochs, 0), count("mini_batch_size", mini_batch_size, 1)
    seconds = positive_seconds(max_seconds)
    clip = None if clip_grad_norm is None else require_limit(clip_grad_norm, "train_model", "clip_grad_norm")
    require_parts(model, criterion, opt)
    schedule = require_schedule(scheduler, scheduler_interval, opt)
    data = (train_input, train_target, sample_weight), (val_input, val_target, val_sample_weight)
    train, validation, reader = rows_of(model, criterion, *data)
    rows, begins = len(train.input), history is None
    history = History() if begins else require_history(history)
    flat, bar = model._current(), None
    with flat.lock:
        flat.lock.require_free()
    try:
        trainer, reason = _choose_trainer(model, criterion, opt, train, validation, mini_batch_size, reader)
        after = None
        if metrics is not None or early_stopping is not None:
            after = after_epoch(model, criterion, validation, trainer.series, metrics, early_stopping)
        sizes = 0 if reader else rows, mini_batch_size, bool(shuffle), trainer.series
        setting = TrainingSetup(*sizes, model._plan.description, () if after is None else after.metrics)
        if not begins:
            history.check_going_on(setting, epochs)
        if schedule:
            schedule.require_steps(history, epochs, None if reader else trainer.batches)
        in_order = begins and not shuffle and rng is None
        shuffler = EpochShuffler(None, rows) if in_order else shuffler_for(rng, bool(shuffle), history, rows)
        monitor = NonFiniteMonitor(on_nonfinite, history, train, validation, getattr(opt, "lr", None))
        if not begins:
            history.warn_if_complete(epochs)
        show: Show | None = None
        if callable(progress):
            show = progress
        elif shows_bar(progress):
            bar = ProgressBar(progress, epochs, history.epochs)
            show = bar.show
        history.begin(setting, trainer.backend, reason)
        with Interrupts() as interrupts, training(flat.lock, interrupts.held):
            looks = (show is not None and bar is None) or after
            parts = TrainedParts(model, flat, criterion, opt, trainer.backend == "engine" and looks)
            stops = looks or (schedule and schedule.stops_at_epochs)
            run = TrainingRun(
                history, epochs, shuffler, interrupts.held, monitor, parts.require_unchanged, bool(stops),
                perf_counter() + seconds, schedule, clip,
            )  # fmt: skip
            train_and_look(trainer, run, model, flat, show, after)
    except KeyboardInterrupt:
        raise TrainingInterrupted(history) from None
    except BaseException as error:
        history.note_on(error)
        raise
    finally:
        if bar is not None:
            bar.close()
    return history


def _choose_trainer(
    model: Module, criterion: Criterion, opt: Optimizer, train: Rows, validation: Rows | None, mini_batch_size: int,
    reader: BlockReader | None,
) -> tuple[Trainer, str]:  # fmt: skip
    """Return what trains, the engine wherever that knows all parts, and else the reason why not.

    Data and optimiser are checked against the model here, unless the last training had the same. Of blocks the first
    one is ``train``.
    """
    session = None
    if reader is None:
        parts = model, criterion, opt, train, validation, mini_batch_size
        session = waiting_session(*parts) or session_of_kind(*parts)
    if session is not None:
        return EngineTrainer(model, criterion, opt, train, validation, mini_batch_size, session), ""
    require_number_of(criterion)
    if isinstance(opt, OptimizerBase):
        require_own_parameters("train_model", opt, plan_of(model).parameters)
    require_mini_batches(model, train.n, mini_batch_size)
    for pair in named_pairs(train, validation):
        try_first_row("train_model", model, criterion, pair)
    trainer: EngineTrainer | ModuleTrainer
    try:
        trainer, reason = EngineTrainer(model, criterion, opt, train, validation, mini_batch_size), ""
    except NotPlannable as why:
        trainer, reason = ModuleTrainer(model, criterion, opt, train, validation, mini_batch_size), str(why)
    if reader is None:
        return trainer, reason
    return BlockTrainer(type(trainer), reader, model, criterion, opt, validation, mini_batch_size), reason

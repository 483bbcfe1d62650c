"""The training loop."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from fastbp.arrays import Array, RandomSource, plain, require_floats, require_generator
from fastbp.history import History
from fastbp.nn.module import Module
from fastbp.optim import SGD
from fastbp.plan import NotPlannable
from fastbp.progress import ProgressBar
from fastbp.trainers import (
    Criterion,
    EngineTrainer,
    ModuleTrainer,
    Optimizer,
    Rows,
    accuracy,
    is_one_hot,
)


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
    progress: bool | None = None,
) -> History:
    """Train ``model`` by mini-batches and return the course of the losses.

    Each mini-batch sets the gradients to zero, runs forward, loss and backward, and steps the optimiser. The last
    mini-batch of an epoch may be short and counts like any other.

    Parameters
    ----------
    model : Module
    train_input, train_target : ndarray of shape (n, ...)
        One row a sample, in the model's dtype.
    val_input, val_target : ndarray of shape (m, ...), or both None
        Evaluated after every epoch.
    criterion : MSELoss, or any object with ``forward(prediction, target)`` and ``backward()``
    opt : SGD, or any object with ``step()``
        Over parameters of ``model``.
    epochs : int
        Passes over the training data, 0 or more.
    mini_batch_size : int
        Rows a mini-batch, 1 or more.
    shuffle : bool
        Whether each epoch takes the rows in a new random order, ``rng.permutation(n)``.
    rng : numpy.random.Generator, int or None
        Source of the orders, or its seed.
    progress : bool or None
        Whether to show a tqdm bar; None shows it at a terminal or in a notebook.

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit each other, before anything changes.

    Notes
    -----
    A ``Sequential`` of ``Linear`` layers and activations, trained by ``MSELoss`` and ``SGD``, runs in one compiled
    engine. Anything else is trained module by module, with the same results where both can; ``History.way`` tells which
    and why.

    Beside the model and the data, the engine takes memory for one block of at most 512 rows: for each row at most twice
    the layers' outputs, plus the inputs, each rounded up to whole cache lines. Threads that share many rows have each
    256 rows and a gradient. Arrays that are not C-contiguous, aligned and writeable are copied once.
    """
    epochs = _count("epochs", epochs, 0)
    mini_batch_size = _count("mini_batch_size", mini_batch_size, 1)
    _check_parts(model, criterion, opt)
    train = _paired_rows("train", train_input, train_target)
    if not len(train):
        raise ValueError("train_model takes one training row or more, got none")
    if (val_input is None) != (val_target is None):
        raise ValueError("train_model takes val_input and val_target together, got only one of them")
    validation = None
    if val_input is not None and val_target is not None:
        validation = _paired_rows("val", val_input, val_target)
    _check_fit(model, criterion, opt, train, validation)

    generator = require_generator(rng, "train_model")
    draw_order = (lambda: generator.permutation(len(train))) if shuffle else None
    trainer, way = _choose_trainer(model, criterion, opt, train, validation, mini_batch_size)
    history = History(way)
    bar = ProgressBar(progress, epochs)
    start = perf_counter()
    try:
        for epoch in trainer.run(epochs, draw_order):
            history.append(epoch)
            bar.show(history)
    finally:
        history.seconds = perf_counter() - start
        bar.close()
    return history


def compute_accuracy(model: Module, inputs: Array, one_hot_targets: Array) -> float:
    """Return the share of rows whose largest output stands where the target has its 1.

    Parameters
    ----------
    model : Module
    inputs : ndarray of shape (n, in_features)
    one_hot_targets : ndarray of shape (n, classes)

    Returns
    -------
    accuracy : float
        From 0 to 1; NaN for no rows.
    """
    if not isinstance(model, Module):
        raise TypeError(f"compute_accuracy takes a fastbp.nn.Module, got {type(model).__name__}")
    data = _paired_rows("compute_accuracy's", inputs, one_hot_targets)
    if not is_one_hot(data.target):
        raise ValueError(
            "compute_accuracy takes one-hot targets: one 1 in every row, 0 elsewhere, in 2 columns or more"
        )
    prediction = model.predict(data.input)
    if prediction.shape != data.target.shape:
        raise ValueError(
            f"compute_accuracy takes targets of the predictions' shape {prediction.shape}, got {data.target.shape}"
        )
    return accuracy(prediction, data.target)


def _choose_trainer(
    model: Module, criterion: Criterion, opt: Optimizer, train: Rows, validation: Rows | None, mini_batch_size: int
) -> tuple[EngineTrainer | ModuleTrainer, str]:
    """Return the trainer, and the way it goes in words: the engine wherever it knows all parts."""
    try:
        return EngineTrainer(model, criterion, opt, train, validation, mini_batch_size), "engine"
    except NotPlannable as reason:
        return (
            ModuleTrainer(model, criterion, opt, train, validation, mini_batch_size),
            f"module by module: {reason}",
        )


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


def _paired_rows(kind: str, input: Array, target: Array) -> Rows:
    require_floats(input, f"{kind}_input")
    require_floats(target, f"{kind}_target with an input of that dtype", input.dtype)
    if not input.ndim or not target.ndim or len(input) != len(target):
        raise ValueError(
            f"{kind}_input and {kind}_target take one row a sample each, got shapes {input.shape} and {target.shape}"
        )
    return Rows(plain(input), plain(target))


def _check_fit(model: Module, criterion: Criterion, opt: Optimizer, train: Rows, validation: Rows | None) -> None:
    """Run the shapes and dtypes through model and criterion on one row, and compare optimiser and model."""
    if isinstance(opt, SGD):
        own = set(model.parameters())
        for parameter in opt.parameters:
            if parameter not in own:
                raise ValueError(
                    f"train_model takes an optimiser over the model's parameters, got one with a parameter of shape "
                    f"{parameter.shape} that is not the model's; build it from model.parameters()"
                )
    for data in (train, validation):
        if data is not None:
            prediction = model.predict(data.input[:1])
            getattr(criterion, "evaluate", criterion.forward)(prediction, data.target[:1])

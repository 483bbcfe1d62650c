"""Trainings put together at random from everything that the library has, to be run in any way."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy

import fastbp
from fastbp import nn, optim
from fastbp.nn.activations import activation_classes
from fastbp.optim import lr_scheduler

DTYPES = (numpy.float32, numpy.float64)
ACTIVATIONS = (
    *(partial(kind, **kind.example) for kind in activation_classes()),
    lambda: nn.GELU("tanh"), nn.Identity, nn.Softmax, nn.LogSoftmax,
)  # fmt: skip


class Loss(NamedTuple):
    """``make`` takes a reduction; ``targets`` makes targets of normal numbers (n, 3); ``end`` ends the network."""

    make: Callable[..., Any]
    targets: Callable[[numpy.ndarray], numpy.ndarray]
    end: Callable[[], nn.Module] | None = None


def _numbers(normal):
    return normal


def _counts(normal):
    return numpy.abs(normal).round()


def _probabilities(normal):
    return 1 / (1 + numpy.exp(-normal))


def _classes(normal):
    return normal.argmax(axis=1)


def _soft_classes(normal):
    return numpy.exp(normal) / numpy.exp(normal).sum(axis=1, keepdims=True)


LOSSES = (
    Loss(nn.MSELoss, _numbers),
    Loss(nn.L1Loss, _numbers),
    Loss(lambda **options: nn.SmoothL1Loss(beta=0.3, **options), _numbers),
    Loss(lambda **options: nn.HuberLoss(delta=0.4, **options), _numbers),
    Loss(lambda **options: nn.QuantileLoss(0.7, **options), _numbers),
    Loss(nn.PoissonNLLLoss, _counts),
    Loss(lambda **options: nn.PoissonNLLLoss(log_input=False, full=True, **options), _counts, nn.Softplus),
    Loss(nn.BCELoss, _probabilities, nn.Sigmoid),
    Loss(lambda **options: nn.BCEWithLogitsLoss(pos_weight=[1.0, 3.0, 0.2], **options), _probabilities),
    Loss(nn.KLDivLoss, _soft_classes, nn.LogSoftmax),
    Loss(lambda **options: nn.NLLLoss([0.5, 2.0, 1.0], **options), _classes, nn.LogSoftmax),
    Loss(nn.CrossEntropyLoss, _classes),
    Loss(lambda **options: nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=1, **options), _classes),
    Loss(nn.CrossEntropyLoss, _soft_classes),
)
OPTIMIZERS = (
    lambda p: optim.SGD(p, 0.02),
    lambda p: optim.SGD(p, 0.02, momentum=0.9, nesterov=True, weight_decay=0.01),
    lambda p: optim.Adam(p, 0.01),
    lambda p: optim.Adam(p, 0.01, amsgrad=True, weight_decay=0.1),
    lambda p: optim.AdamW(p, 0.01),
    lambda p: optim.NAdam(p, 0.01),
    lambda p: optim.RAdam(p, 0.01),
    lambda p: optim.Adamax(p, 0.01),
    lambda p: optim.RMSprop(p, 0.01, centered=True, momentum=0.5),
    lambda p: optim.Adagrad(p, 0.01, lr_decay=0.1),
    lambda p: optim.Adadelta(p),
    lambda p: optim.Rprop(p, 0.01),
    lambda p: optim.Lion(p, 0.001, weight_decay=0.1),
)
# Each takes an optimiser and the number of its steps.
SCHEDULERS = (
    lambda opt, steps: lr_scheduler.OneCycleLR(
        opt, max_lr=0.05, total_steps=steps + 1, cycle_momentum=not {"momentum", "betas"}.isdisjoint(opt.settings)
    ),
    lambda opt, steps: lr_scheduler.CosineAnnealingLR(opt, steps),
    lambda opt, steps: lr_scheduler.CosineAnnealingWarmRestarts(opt, 3),
    lambda opt, steps: lr_scheduler.StepLR(opt, 3, 0.5),
    lambda opt, steps: lr_scheduler.ReduceLROnPlateau(opt, patience=0),
    lambda opt, steps: lr_scheduler.CyclicLR(opt, 0.001, 0.02, step_size_up=3, cycle_momentum=False),
    lambda opt, steps: lr_scheduler.SequentialLR(
        opt, [lr_scheduler.LinearLR(opt, total_iters=4), lr_scheduler.ExponentialLR(opt, 0.9)], milestones=[4]
    ),
)


class Training(NamedTuple):
    """All that a training consists of, before it begins or when it has stopped."""

    model: nn.Sequential
    criterion: Any
    opt: optim.Optimizer
    scheduler: Any
    history: fastbp.History
    data: tuple  # of train_model
    mini_batch_size: int
    options: dict  # of train_model

    def train(self, epochs, **options):
        """Train up to so many epochs."""
        return fastbp.train_model(
            self.model, *self.data, self.criterion, self.opt, epochs, self.mini_batch_size, history=self.history,
            scheduler=self.scheduler, on_nonfinite="ignore", **{"progress": False, **self.options, **options},
        )  # fmt: skip


class Recipe(NamedTuple):
    """A training that can be begun as often as wanted."""

    seed: int

    def begin(self, epochs=2):
        """Draw a training that will have so many epochs."""
        rng = numpy.random.default_rng(self.seed)
        dtype = DTYPES[rng.integers(2)]
        rows, mini_batch_size = int(rng.choice([17, 64, 601])), int(rng.choice([7, 32, 300, 1000]))
        mini_batch_size += rows % mini_batch_size == 1  # a mini-batch of one row is none for BatchNorm1d
        loss = LOSSES[rng.integers(len(LOSSES))]
        model = _network(rng, dtype)
        if loss.end:
            model.append(loss.end())
        criterion = loss.make(reduction="mean" if rng.random() < 0.6 else "sum")
        opt = OPTIMIZERS[rng.integers(len(OPTIMIZERS))](_parameters(rng, model))
        x, target = rng.standard_normal((rows, 5)).astype(dtype), loss.targets(rng.standard_normal((rows, 3)))
        target = target.astype(dtype) if target.ndim == 2 else target
        val = (x[:30], target[:30]) if rng.random() < 0.5 else (None, None)
        options = draw_options(rng, rows, dtype, val[0] is not None)
        scheduler = None
        if rng.random() < 0.4:
            by_batch = bool(rng.random() < 0.6)
            steps = epochs * math.ceil(rows / mini_batch_size) if by_batch else epochs
            scheduler = SCHEDULERS[rng.integers(len(SCHEDULERS))](opt, steps)
            is_plateau = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
            options["scheduler_interval"] = "batch" if by_batch and not is_plateau else "epoch"
        return Training(model, criterion, opt, scheduler, fastbp.History(), (x, target, *val), mini_batch_size, options)

    def run(self, *, by_modules, epochs=2, threads=1):
        """Train anew; return the model and the history."""
        training = self.begin(epochs)
        if by_modules:
            criterion = training.criterion
            criterion.forward = criterion.forward  # a method of the object's own, which the engine passes by
        before = fastbp.get_num_threads()
        try:
            fastbp.set_num_threads(threads)
            history = training.train(epochs)
        finally:
            fastbp.set_num_threads(before)
        return training.model, history


def draw_options(rng, rows, dtype, has_val):
    """Draw options of ``train_model`` for so many rows."""
    options = {"shuffle": True, "rng": 3} if rng.random() < 0.5 else {}
    if rng.random() < 0.3:
        options["clip_grad_norm"] = 0.5
    if rng.random() < 0.3:
        options["sample_weight"] = rng.random(rows).astype(dtype)
    if has_val and rng.random() < 0.3:
        options["val_sample_weight"] = rng.random(min(rows, 30)).astype(dtype)
    if has_val and rng.random() < 0.3:
        options["early_stopping"] = fastbp.EarlyStopping(1000)
    return options


def _network(rng, dtype):
    widths = [5, *rng.choice([1, 3, 8, 17, 33], rng.integers(1, 4)).tolist(), 3]
    modules = [nn.Dropout(0.2, rng=1)] if rng.random() < 0.1 else []
    for i, o in pairwise(widths):
        modules.append(nn.Linear(i, o, bool(rng.random() < 0.8), rng=rng, dtype=dtype))
        if o == 3:
            break
        modules += between(rng, o, dtype)
    if not isinstance(modules[-1], nn.Linear):
        modules.append(nn.Linear(widths[-2] if modules else 5, 3, rng=rng, dtype=dtype))
    modules += [nn.LayerNorm(3, dtype=dtype)] if rng.random() < 0.1 else []
    return nn.Sequential(*modules)


def between(rng, features, dtype):
    """Draw what stands behind a hidden ``Linear`` of so many outputs."""
    modules = [_normalisation(rng, features, dtype)] if rng.random() < 0.4 else []
    if rng.random() < 0.1:
        modules += [nn.Linear(features, 2 * features, rng=rng, dtype=dtype), nn.GLU()]
    modules.append(_activation(rng, features, dtype))
    modules += [_dropout(rng)] if rng.random() < 0.3 else []
    if rng.random() < 0.3:
        inner = [nn.Linear(features, 7, rng=rng, dtype=dtype), _activation(rng, 7, dtype)]
        modules.append(nn.Residual(*inner, nn.Linear(7, features, rng=rng, dtype=dtype)))
    return modules


def _activation(rng, features, dtype):
    if rng.random() < 0.2:
        return nn.PReLU(features if rng.random() < 0.5 else 1, dtype=dtype)
    chosen = ACTIVATIONS[rng.integers(len(ACTIVATIONS))]
    return chosen(-1) if chosen in (nn.Softmax, nn.LogSoftmax) else chosen()


def _dropout(rng):
    return (nn.Dropout if rng.random() < 0.8 else nn.AlphaDropout)(0.3, rng=rng)


def _normalisation(rng, features, dtype):
    kinds = nn.LayerNorm, nn.BatchNorm1d, nn.RMSNorm
    return kinds[rng.integers(len(kinds))](features, dtype=dtype)


def _parameters(rng, model):
    """All in one group, in two, or with one frozen."""
    parameters = list(model.parameters())
    choice = rng.random()
    if choice < 0.2 and len(parameters) > 2:
        parameters[0].requires_grad = False
        return parameters
    if choice < 0.5 and len(parameters) > 1:
        return [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.005}]
    return parameters

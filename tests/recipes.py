"""Trainings put together at random from everything that the library has, to be run in both ways."""

from itertools import pairwise
from typing import NamedTuple

import numpy

import fastbp
from fastbp import nn, optim

DTYPES = (numpy.float32, numpy.float64)
ACTIVATIONS = (
    nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, lambda: nn.GELU("tanh"), nn.LeakyReLU, nn.ReLU6, nn.ELU, nn.CELU, nn.SELU,
    nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.LogSigmoid, nn.Identity,
)  # fmt: skip
# By what their targets are; each may be called with further options.
OF_VALUES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss)
OF_PROBABILITIES = (nn.BCEWithLogitsLoss,)
OF_CLASSES = (nn.CrossEntropyLoss, lambda **options: nn.CrossEntropyLoss(label_smoothing=0.1, **options))
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
)
SCHEDULERS = (
    lambda opt, steps: optim.lr_scheduler.OneCycleLR(
        opt, max_lr=0.05, total_steps=steps + 1, cycle_momentum=not {"momentum", "betas"}.isdisjoint(opt.settings)
    ),
    lambda opt, steps: optim.lr_scheduler.CosineAnnealingLR(opt, steps),
    lambda opt, steps: optim.lr_scheduler.StepLR(opt, 3, 0.5),
)


class Recipe(NamedTuple):
    """A training that can be begun as often as wanted."""

    seed: int

    def run(self, *, by_modules, epochs=2, threads=1):
        """Train anew; return the model and the history."""
        rng = numpy.random.default_rng(self.seed)
        dtype = DTYPES[rng.integers(2)]
        rows, mini_batch_size = int(rng.choice([17, 64, 601])), int(rng.choice([7, 32, 300, 1000]))
        mini_batch_size += rows % mini_batch_size == 1  # a mini-batch of one row is none for BatchNorm1d
        model = _network(rng, dtype)
        criterion, target = _loss_and_target(rng, dtype, rows)
        if by_modules:
            criterion.forward = criterion.forward  # a method of the object's own, which the engine passes by
        opt = OPTIMIZERS[rng.integers(len(OPTIMIZERS))](_parameters(rng, model))
        steps = epochs * -(-rows // mini_batch_size)
        options = {"shuffle": True, "rng": 3} if rng.random() < 0.5 else {}
        if rng.random() < 0.3:
            options["clip_grad_norm"] = 0.5
        if rng.random() < 0.3:
            scheduler = SCHEDULERS[rng.integers(len(SCHEDULERS))](opt, steps)
            options |= {"scheduler": scheduler, "scheduler_interval": "batch"}
        if rng.random() < 0.3:
            options["sample_weight"] = rng.random(rows).astype(dtype)
        x = rng.standard_normal((rows, 5)).astype(dtype)
        val = (x[:30], target[:30]) if rng.random() < 0.5 else (None, None)
        before = fastbp.get_num_threads()
        try:
            fastbp.set_num_threads(threads)
            history = fastbp.train_model(
                model, x, target, *val, criterion, opt, epochs, mini_batch_size, progress=False,
                on_nonfinite="ignore", **options,
            )  # fmt: skip
        finally:
            fastbp.set_num_threads(before)
        return model, history


def _network(rng, dtype):
    widths = [5, *rng.choice([1, 3, 8, 17, 33], rng.integers(1, 4)).tolist(), 3]
    modules = [nn.Dropout(0.2, rng=1)] if rng.random() < 0.1 else []
    for i, o in pairwise(widths):
        modules.append(nn.Linear(i, o, bool(rng.random() < 0.8), rng=rng, dtype=dtype))
        if o == 3:
            break
        modules += [_normalisation(rng, o, dtype)] if rng.random() < 0.4 else []
        modules.append(ACTIVATIONS[rng.integers(len(ACTIVATIONS))]())
        modules += [nn.Dropout(0.3, rng=rng)] if rng.random() < 0.3 else []
        if rng.random() < 0.3:
            inner = [nn.Linear(o, 7, rng=rng, dtype=dtype), ACTIVATIONS[rng.integers(len(ACTIVATIONS))]()]
            modules.append(nn.Residual(*inner, nn.Linear(7, o, rng=rng, dtype=dtype)))
    if not isinstance(modules[-1], nn.Linear):
        modules.append(nn.Linear(widths[-2] if modules else 5, 3, rng=rng, dtype=dtype))
    modules += [nn.LayerNorm(3, dtype=dtype)] if rng.random() < 0.1 else []
    return nn.Sequential(*modules)


def _normalisation(rng, features, dtype):
    return (nn.LayerNorm if rng.random() < 0.5 else nn.BatchNorm1d)(features, dtype=dtype)


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


def _loss_and_target(rng, dtype, rows):
    reduction = "mean" if rng.random() < 0.6 else "sum"
    kinds = (OF_VALUES, OF_PROBABILITIES, OF_CLASSES)[rng.integers(3)]
    criterion = kinds[rng.integers(len(kinds))](reduction=reduction)
    if kinds is OF_CLASSES:
        return criterion, rng.integers(3, size=rows)
    values = rng.standard_normal((rows, 3))
    if kinds is OF_PROBABILITIES:
        values = 1 / (1 + numpy.exp(-values))
    return criterion, numpy.abs(values).astype(dtype)

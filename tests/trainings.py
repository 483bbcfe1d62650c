"""Whole trainings in fastbp and in torch, side by side: the same weights, the same batches, compared after every step.

A runner takes a step at a time and shows all its parameters, all gradients and the loss. ``Torch`` is torch as one
writes it, and the reference. ``FASTBP`` and ``TORCH`` follow it: fastbp, and torch with its sums in another order.
"""

from functools import cache
from itertools import combinations, pairwise
from typing import NamedTuple

import length
import numpy
import torch
from helpers import tensor
from same_bits import Network
from sklearn.datasets import load_digits
from torch.nn import functional

import fastbp
from bench.disk_task import LR, MINI_BATCH, WIDTHS, Task
from fastbp import nn, optim

_HIDDEN = {name: (name, name, name) for name in ("ReLU", "Tanh", "Sigmoid")} | {"mix": ("ReLU", "Tanh", "Sigmoid")}
NETWORKS = {("disk", name): Network(WIDTHS, (*hidden, None)) for name, hidden in _HIDDEN.items()}
NETWORKS |= {("digits", name): Network((64, 128, 10), (name, None)) for name in ("ReLU", "Tanh", "Sigmoid")}
NETWORKS["digits", "mix"] = Network((64, 128, 10), ("Tanh", "Sigmoid"))


class Training(NamedTuple):
    """A task, "disk" or "digits", and how it is trained. ``activations`` is a name in ``NETWORKS``.

    ``draw`` chooses the points of the disk and all weights. Of the disk's draws 0 to 7 the ReLU network's training is
    chaotic for 0 alone: there torch in float64 ends far from itself, if one bit of the weights differs.
    """

    task: str
    activations: str
    reduction: str
    dtype: str
    epochs: int
    draw: int = 1

    def __str__(self):
        draw = f", draw {self.draw}" * (self.draw != 1)
        return f"{self.task} {self.activations} {self.reduction} {self.dtype}{draw}"

    @property
    def network(self):
        return NETWORKS[self.task, self.activations]

    @property
    def mini_batch(self):
        return MINI_BATCH if self.task == "disk" else 64

    @property
    def lr(self):
        """The original experiment's for a sum; for a mean the one that makes the same steps of full mini-batches."""
        return LR if self.reduction == "sum" else LR * self.mini_batch * self.network.widths[-1]

    def model(self):
        model = self.network.build(self.dtype, self.draw)
        if self.activations == "Sigmoid":  # its slope is 1/4 at most: with smaller weights hardly anything is learned
            for layer in model[::2]:
                layer.weight.data *= 4
        return model

    def data(self):
        if self.task == "disk":
            arrays = Task.draw(self.draw).train
        else:
            digits = load_digits()
            arrays = digits.data / 16, numpy.eye(10)[digits.target]
        return tuple(numpy.ascontiguousarray(array, self.dtype) for array in arrays)

    def batches(self):
        """The mini-batches of an epoch, in order; the digits' last one is short."""
        data, size = self.data(), self.mini_batch
        return [tuple(array[first : first + size] for array in data) for first in range(0, len(data[0]), size)]


# The original experiment's 20,000 steps for each activation in float64, for ReLU also with its summed loss and in
# float32; 2,000 steps of everything else on the disk, 580 on the digits.
WHOLE = [Training("disk", name, "mean", "float64", 1000) for name in _HIDDEN]
WHOLE += [Training("disk", "ReLU", "sum", "float64", 1000), Training("disk", "ReLU", "mean", "float32", 1000)]
_SHORT = [
    Training(task, name, reduction, dtype, epochs)
    for task, epochs in (("disk", 100), ("digits", 20))
    for dtype in ("float64", "float32")
    for reduction in ("mean", "sum")
    for name in _HIDDEN
]
TRAININGS = WHOLE + [training for training in _SHORT if training._replace(epochs=1000) not in WHOLE]

# What the tests follow: all of them; or in short the first 5,000 steps of the original task, each task and activation
# with one of the reductions, which in turn make the same steps but for rounding, and in float32, for which torch trains
# four times, what holds a ReLU and a mix of all activations.
_REDUCTIONS = {"ReLU": "sum", "Tanh": "mean", "Sigmoid": "sum", "mix": "mean"}
CHOSEN = TRAININGS
if not length.WHOLE:
    _ONCE = [training for training in _SHORT if training.reduction == _REDUCTIONS[training.activations]]
    CHOSEN = [WHOLE[0]._replace(epochs=250), *(training for training in _ONCE if training.dtype == "float64")]
    _SINGLE = [training for training in _ONCE if training not in CHOSEN and training.activations in ("ReLU", "mix")]
    CHOSEN += [training._replace(epochs=min(training.epochs, 40)) for training in _SINGLE]


def flat(model):
    """The vectors of all parameters and of all gradients."""
    storage = next(model.parameters()).storage
    return storage.data, storage.grad


class Fastbp:
    """fastbp, module by module."""

    def __init__(self, training):
        self.model = training.model()
        self.criterion = nn.MSELoss(reduction=training.reduction)
        self.opt = optim.SGD(self.model.parameters(), lr=training.lr)
        self.parameter, self.grad = flat(self.model)

    def step(self, x, target):
        self.loss = self.criterion(self.model(x), target)
        self.opt.zero_grad()
        self.model.backward(self.criterion.backward())
        self.opt.step()


class Torch:
    """torch as one writes it: autograd, and the update of ``torch.optim.SGD`` for the vector of all parameters."""

    def __init__(self, training):
        self.training = training
        parameter, grad = map(tensor, flat(training.model()))
        self.parameter, self.grad = parameter.numpy(), grad.numpy()
        shapes = [shape for i, o in pairwise(training.network.widths) for shape in ((o, i), (o,))]
        sizes = [int(numpy.prod(shape)) for shape in shapes]
        self.tensors = [part.view(shape) for part, shape in zip(parameter.split(sizes), shapes, strict=True)]
        for leaf, part in zip(self.tensors, grad.split(sizes), strict=True):
            leaf.requires_grad_().grad = part.view(leaf.shape)
        self.vectors = parameter, grad

    def step(self, x, target):
        parameter, grad = self.vectors
        output = self.forward(torch.from_numpy(x))
        loss = functional.mse_loss(output, torch.from_numpy(target), reduction=self.training.reduction)
        grad.zero_()
        loss.backward()
        with torch.no_grad():
            parameter.sub_(grad, alpha=self.training.lr)
        self.loss = loss.item()

    def layers(self):
        names = self.training.network.activations
        activations = (getattr(torch, name.lower()) if name else torch.clone for name in names)
        return zip(self.tensors[::2], self.tensors[1::2], activations, strict=True)

    def forward(self, x):
        for weight, bias, activation in self.layers():
            x = activation(functional.linear(x, weight, bias))
        return x


class RowsReversed(Torch):
    """The rows of each mini-batch from the last to the first: other sums over the batch."""

    def step(self, x, target):
        super().step(x[::-1].copy(), target[::-1].copy())


class InputsReversed(Torch):
    """The inputs of every layer from the last to the first: other sums over features."""

    def forward(self, x):
        for weight, bias, activation in self.layers():
            x = activation(functional.linear(x.flip(1), weight.flip(1), bias))
        return x


class BothReversed(InputsReversed, RowsReversed):
    """Other sums over the batch and over features."""


FASTBP, TORCH = (Fastbp,), (RowsReversed, InputsReversed, BothReversed)


class Course(NamedTuple):
    """What a training left: of each runner the difference from torch after every step, 0 and up."""

    training: Training
    apart: dict  # runners that went their own way from the first step on, and pairs of those of torch
    one_step: dict  # runners that began every tenth step with torch's parameters, and took no other
    ours: Fastbp  # as it ended
    losses: list  # of torch, after every epoch

    def largest(self, runners):
        """For each step the largest difference so far of ``runners``, and of one of them from another."""
        pairs = [pair for pair in combinations(runners, 2) if pair in self.apart]
        return numpy.maximum.accumulate(numpy.max([self.apart[key] for key in (*runners, *pairs)], axis=0))


@cache
def follow(training, runners=FASTBP, one_step=()):
    """Train by ``Torch`` and all ``runners`` side by side.

    The difference after a step is the largest one among all parameters, all gradients and the loss. A tensor's is that
    of its elements over the largest that it had in torch in the last epoch: in a single step a gradient may cancel.
    """
    reference = Torch(training)
    apart = {runner: (runner(training), []) for runner in runners}
    tied = {runner: (runner(training), []) for runner in one_step}
    pairs = {pair: [] for pair in combinations((runner for runner in runners if runner in TORCH), 2)}
    starts = numpy.cumsum([0] + 2 * [leaf.numel() for leaf in reference.tensors])
    batches, losses = training.batches(), []
    sizes = numpy.zeros((len(batches), len(starts)))
    for step, batch in enumerate(training.epochs * batches):
        followers = list(apart.values())
        if step % 10 == 0:
            followers += tied.values()
            for runner, _ in tied.values():
                runner.parameter[...] = reference.parameter
        reference.step(*batch)
        expected = state(reference)
        sizes[step % len(batches)] = numpy.maximum.reduceat(abs(expected), starts)
        scale = numpy.maximum(sizes.max(axis=0), numpy.finfo(training.dtype).tiny)
        for runner, differences in followers:
            runner.step(*batch)
            differences.append(_difference(state(runner), expected, starts, scale))
        for (one, other), differences in pairs.items():
            differences.append(_difference(*(state(apart[key][0]) for key in (one, other)), starts, scale))
        if step % len(batches) == len(batches) - 1:
            losses.append(reference.loss)
    found = [{name: numpy.array(values) for name, (_, values) in group.items()} for group in (apart, tied)]
    found[0] |= {pair: numpy.array(differences) for pair, differences in pairs.items()}
    return Course(training, *found, apart[Fastbp][0], losses)


def _difference(one, other, starts, scale):
    return (numpy.maximum.reduceat(abs(one - other), starts) / scale).max()


def state(runner):
    """All that a step leaves, as one vector."""
    return numpy.concatenate([runner.parameter, runner.grad, [runner.loss]])


def by_engine(training):
    """The model after the same training by ``train_model``."""
    model, criterion = training.model(), nn.MSELoss(reduction=training.reduction)
    opt = optim.SGD(model.parameters(), lr=training.lr)
    data = (*training.data(), None, None)
    history = fastbp.train_model(model, *data, criterion, opt, training.epochs, training.mini_batch)
    assert history.backend == "engine"
    return model

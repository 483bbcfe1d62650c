"""Trainings that are to end with the same bits, and how two of them are compared."""

import hashlib
from itertools import pairwise
from typing import NamedTuple

import numpy
from helpers import draw, gradient

import fastbp
from fastbp import nn, optim
from fastbp.nn.activations import activation_of_row


class Network(NamedTuple):
    """Widths of the layers, and behind each ``Linear`` the name of an activation or None."""

    widths: tuple
    activations: tuple
    bias: bool = True

    def build(self, dtype, seed=0):
        rng, modules = numpy.random.default_rng(seed), []
        for (inputs, outputs), activation in zip(pairwise(self.widths), self.activations, strict=True):
            modules.append(nn.Linear(inputs, outputs, self.bias, rng=rng, dtype=dtype))
            modules += [activation_of_row(activation)] if activation else []
        return nn.Sequential(*modules)

    def data(self, dtype, n, val=None):
        """Inputs and one-hot targets (random ones for one output) to train with, and ``val`` rows of these or None."""

        def rows(count, seed):
            outputs = self.widths[-1]
            one_hot = numpy.eye(outputs, dtype=dtype)[draw(count, numpy.float64, seed).view(numpy.int64) % outputs]
            target = one_hot if outputs > 1 else draw((count, 1), dtype, seed + 10)
            return draw((count, self.widths[0]), dtype, seed), target

        return *rows(n, 1), *((None, None) if val is None else rows(val, 2))


ORIGINAL = Network((2, 25, 25, 25, 2), ("ReLU", "ReLU", "ReLU", None))
SMOOTH = Network((4, 32, 16, 4), ("Tanh", "Sigmoid", None))
NETWORKS = {
    "one number": Network((1, 1), (None,)),
    "one Linear": Network((4, 3), (None,)),
    "the original": ORIGINAL,
    "smooth": SMOOTH,
    "activation last": Network((3, 9, 5), ("Tanh", "ReLU")),
    "Tanh last": Network((3, 2, 7), ("ReLU", "Tanh")),
    "Sigmoid last": Network((3, 15, 3), ("Sigmoid", "Sigmoid")),
    "no activation": Network((5, 6, 7, 2), (None, None, None)),
    "through one feature": Network((3, 1, 7, 1), ("Tanh", "ReLU", None)),
    "whole vectors": Network((16, 32, 64, 8), ("ReLU", "Tanh", None)),
    "one beside vectors": Network((31, 33, 65, 17), ("Sigmoid", "ReLU", None)),
    "wider than a stretch of k": Network((300, 20, 257, 12), ("ReLU", "Tanh", None)),
    "wide hidden": Network((10, 530, 6), ("Sigmoid", None)),
    "without bias": Network((5, 17, 9, 3), ("ReLU", "Tanh", None), bias=False),
    "without bias, activation last": Network((4, 8, 2), ("Sigmoid", "ReLU"), bias=False),
}


class OwnSGD(optim.SGD):
    """Does what SGD does, and the engine does not know it."""


class Outcome(NamedTuple):
    history: fastbp.History
    parameters: list
    gradients: list


def train(model, data, epochs, mini_batch_size, *, by_modules=False, reduction="mean", lr=0.05, calls=1, **options):
    """Train in ``calls`` calls of ``epochs`` epochs; the history is the last call's."""
    criterion = nn.MSELoss(reduction=reduction)
    opt = (OwnSGD if by_modules else optim.SGD)(model.parameters(), lr=lr if reduction == "mean" else lr / 50)
    for _ in range(calls):
        history = fastbp.train_model(model, *data, criterion, opt, epochs, mini_batch_size, **options)
    assert history.fallback_reason == ("the engine does not know OwnSGD" if by_modules else "")
    return outcome(model, history)


def outcome(model, history):
    parameters = list(model.parameters())
    return Outcome(history, [p.data.copy() for p in parameters], [gradient(p) for p in parameters])


def assert_same_bits(one, two):
    """Parameters and gradients with the signs of zeros, histories number by number; NaN equals NaN."""
    assert list(one.history) == list(two.history)
    for name in one.history:
        numpy.testing.assert_array_equal(one.history[name], two.history[name], err_msg=name)
    for kind in ("parameters", "gradients"):
        for mine, theirs in zip(getattr(one, kind), getattr(two, kind), strict=True):
            assert (mine is None) == (theirs is None), kind
            if mine is None:
                continue
            numpy.testing.assert_array_equal(mine, theirs, err_msg=kind)
            numpy.testing.assert_array_equal(numpy.signbit(mine) & (mine == 0), numpy.signbit(theirs) & (theirs == 0))


def digest(outcome):
    together = b"".join(array.tobytes() for array in outcome.parameters + outcome.gradients)
    return hashlib.sha256(together + repr(dict(outcome.history)).encode()).hexdigest()


def digests():
    """Of trainings in both dtypes, by the engine and by modules, of mini-batches in order and shuffled."""
    found = []
    for dtype in (numpy.float32, numpy.float64):
        for network in (SMOOTH, ORIGINAL):
            data = network.data(dtype, 600, 40)
            for options in ({}, {"by_modules": True}, {"shuffle": True, "rng": 0}):
                found.append(digest(train(network.build(dtype), data, 5, 300, **options)))
    return found

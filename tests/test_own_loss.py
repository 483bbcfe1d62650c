"""A loss by two compiled functions of the user's, in the engine and module by module."""

import copy
import math
import pickle

import numpy
import pytest
import torch
from helpers import draw, mlp, tensor
from loss_cases import pinball
from numba import njit
from same_bits import assert_same_bits, outcome

import fastbp
from fastbp import nn, optim

LEVEL = 0.7


@njit
def value(prediction, target):
    difference = target - prediction
    return LEVEL * difference if difference >= 0 else (LEVEL - 1) * difference


@njit
def derivative(prediction, target):
    return -LEVEL if target - prediction >= 0 else 1 - LEVEL


@njit
def reciprocal(prediction, target):
    return target / prediction


@njit
def reciprocal_derivative(prediction, target):
    return -target / (prediction * prediction)


def train(criterion, dtype, epochs=50, **options):
    x, y = draw((60, 5), dtype), draw((60, 3), dtype, seed=1)
    model = mlp(5, 9, 3, dtype=dtype)
    opt = optim.Adam(model.parameters(), lr=0.003)
    history = fastbp.train_model(model, x, y, x, y, criterion, opt, epochs, 10, **options)
    return outcome(model, history)


@pytest.mark.parametrize("weighted", [False, True])
def test_it_trains_in_the_engine_with_the_bits_of_the_modules(weighted, dtype):
    weights = {"sample_weight": numpy.arange(60, dtype=dtype) % 3} if weighted else {}
    ends = []
    for kind in (nn.ElementwiseLoss, type("Own", (nn.ElementwiseLoss,), {})):
        for threads in (1, 2):
            fastbp.set_num_threads(threads)
            ends.append(train(kind(value, derivative), dtype, 5, shuffle=True, rng=1, **weights))
            assert ends[-1].history.backend == ("engine" if kind is nn.ElementwiseLoss else "modules")
    for end in ends[1:]:
        assert_same_bits(ends[0], end)


def test_a_quantile_loss_of_ones_own_is_that_of_the_library_and_torchs():
    own = train(nn.ElementwiseLoss(value, derivative), numpy.float64)
    ours = train(nn.QuantileLoss(LEVEL), numpy.float64)
    numpy.testing.assert_allclose(own.history["train_loss"], ours.history["train_loss"], rtol=1e-11)
    numpy.testing.assert_allclose(own.history["val_loss"], ours.history["val_loss"], rtol=1e-11)
    x, y = tensor(draw((60, 5), numpy.float64)), tensor(draw((60, 3), numpy.float64, seed=1))
    twin = fastbp.to_torch(mlp(5, 9, 3, dtype=numpy.float64))
    theirs, losses = torch.optim.Adam(twin.parameters(), lr=0.003), []
    for step in range(300):
        rows = slice(step % 6 * 10, step % 6 * 10 + 10)
        theirs.zero_grad()
        loss = pinball([LEVEL], "mean")(twin(x[rows]), y[rows])
        loss.backward()
        theirs.step()
        losses.append(loss.item())
    expected = numpy.reshape(losses, (50, 6)).sum(axis=1)
    numpy.testing.assert_allclose(own.history["train_loss"], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_its_value_and_gradient_are_those_of_its_functions(reduction, dtype):
    x, y = draw((7, 3), dtype), draw((7, 3), dtype, seed=1)
    own, ours = nn.ElementwiseLoss(value, derivative, reduction), nn.QuantileLoss(LEVEL, reduction)
    tolerance = {"rtol": 1e-6 if dtype == numpy.float32 else 1e-14}
    numpy.testing.assert_allclose(own(x, y), ours(x, y), **tolerance)
    numpy.testing.assert_allclose(own.evaluate(x, y), ours.evaluate(x, y), **tolerance)
    grad_output = (draw((7, 3), dtype, seed=2),) if reduction == "none" else ()
    numpy.testing.assert_allclose(own.backward(*grad_output), ours.backward(*grad_output), **tolerance)


def test_a_division_by_zero_is_infinite_as_in_numpy(dtype):
    criterion = nn.ElementwiseLoss(reciprocal, reciprocal_derivative)
    assert criterion(numpy.zeros((2, 1), dtype), numpy.ones((2, 1), dtype)) == math.inf
    numpy.testing.assert_array_equal(criterion.backward(), -math.inf)


def test_functions_that_numba_did_not_make_are_refused():
    with pytest.raises(TypeError, match=r"ElementwiseLoss takes value as a function that numba\.njit made, got"):
        nn.ElementwiseLoss(lambda x, y: x, derivative)
    with pytest.raises(TypeError, match="takes derivative as a function"):
        nn.ElementwiseLoss(value, math.exp)


def test_it_is_copied_but_not_saved():
    criterion = nn.ElementwiseLoss(value, derivative, "sum")
    x, y = draw((7, 3), numpy.float32), draw((7, 3), numpy.float32, seed=1)
    assert copy.deepcopy(criterion)(x, y) == copy.copy(criterion)(x, y) == criterion(x, y)
    with pytest.raises(TypeError, match="holds functions of your own and is not saved; make it anew"):
        pickle.dumps(criterion)

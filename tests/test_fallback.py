"""What trains in the engine, and what trains module by module, with the same bits, and says why."""

import re

import numpy
import pytest
from helpers import draw, mlp, snapshot
from same_bits import OwnSGD, train

import fastbp
from fastbp import nn, optim


class Same(nn.Module):
    """A user's module that lets everything through."""

    def forward(self, input):
        return input.copy()

    def backward(self, grad_output):
        return grad_output


class OwnLinear(nn.Linear):
    pass


class OwnLoss(nn.MSELoss):
    pass


def shared(model):
    model[2].weight = model[0].weight
    return model


def without_a_bias(model):
    model[0].bias = None
    return model


def with_a_weight_set_later(model):
    model[2].weight = nn.Parameter(draw(model[2].weight.shape, numpy.float32))
    return model


def with_a_layer_of_another(model):
    nn.Sequential(model[0], nn.Linear(4, 2))
    return model


UNKNOWN = [
    ("a Same, which the engine does not know", lambda: nn.Sequential(nn.Linear(4, 4, rng=0), Same())),
    ("an? OwnLinear, which the engine does not know", lambda: nn.Sequential(nn.Linear(4, 4), OwnLinear(4, 4))),
    ("a Softmax, which the engine does not know", lambda: nn.Sequential(nn.Softmax(0), nn.Linear(4, 4, rng=0))),
    ("share a parameter", lambda: shared(mlp(4, 4, 4))),
    ("one of its parameters was taken out since it was built", lambda: without_a_bias(mlp(4, 4, 4))),
    ("were set since it was built", lambda: with_a_weight_set_later(mlp(4, 4, 4))),
    ("belong to another model", lambda: with_a_layer_of_another(mlp(4, 4, 4))),
    ("an? OwnLinear, which", lambda: OwnLinear(4, 4)),
]


@pytest.mark.parametrize(("reason", "build"), UNKNOWN, ids=[reason for reason, _ in UNKNOWN])
def test_a_model_that_the_engine_does_not_know_trains_module_by_module_and_says_why(reason, build):
    model, x, target = build(), draw((23, 4), numpy.float32), draw((23, 4), numpy.float32, seed=1)
    before = snapshot(model)
    opt = optim.SGD(model.parameters(), lr=0.1)
    history = fastbp.train_model(model, x, target, None, None, nn.MSELoss(), opt, 20, 5)
    assert history.backend == "modules"
    assert re.search(reason, history.fallback_reason)
    assert history["train_loss"][-1] < history["train_loss"][0]
    for name, (data, _) in snapshot(model).items():
        assert not numpy.array_equal(data, before[name][0]), name


def parts(model, criterion=nn.MSELoss, opt=optim.SGD, parameters=None):
    """The way in which these train, and what the model's parameters are afterwards."""
    x, target = draw((23, 4), numpy.float32), draw((23, 3), numpy.float32, seed=1)
    optimiser = opt(model.parameters() if parameters is None else parameters, lr=0.1)
    history = fastbp.train_model(model, x, target, x, target, criterion(), optimiser, 3, 5)
    return history, [parameter.data for parameter in model.parameters()]


@pytest.mark.parametrize(("what", "own_class"), [("criterion", OwnLoss), ("opt", OwnSGD)])
def test_a_users_criterion_or_optimiser_is_used_and_named(what, own_class):
    expected, known = parts(mlp(4, 5, 3))
    history, own = parts(mlp(4, 5, 3), **{what: own_class})
    assert expected.backend == "engine"
    assert history.fallback_reason == f"the engine does not know {own_class.__name__}"
    assert dict(history) == dict(expected)
    for mine, theirs in zip(own, known, strict=True):
        numpy.testing.assert_array_equal(mine, theirs)


def test_a_users_module_in_the_middle_changes_the_way_and_not_a_bit():
    model = mlp(4, 5, 3)
    expected, known = parts(model)
    first, activation, last = mlp(4, 5, 3)
    history, own = parts(nn.Sequential(first, Same(), activation, last))
    assert history.fallback_reason == "it contains a Same, which the engine does not know"
    assert dict(history) == dict(expected)
    for mine, theirs in zip(own, known, strict=True):
        numpy.testing.assert_array_equal(mine, theirs)


def test_an_optimiser_over_a_part_of_the_model_is_taken_by_the_engine():
    model = mlp(4, 5, 3)
    history, _ = parts(model, parameters=model[2].parameters())
    assert (history.backend, history.fallback_reason) == ("engine", "")


def test_data_of_three_dimensions_train_module_by_module():
    model, x = mlp(4, 5, 3), draw((8, 2, 4), numpy.float32)
    opt = optim.SGD(model.parameters(), lr=0.1)
    history = fastbp.train_model(model, x, x[..., :3], None, None, nn.MSELoss(), opt, 2, 3)
    assert history.fallback_reason == "the engine takes inputs of two dimensions and targets of 2"


def test_a_lone_linear_and_nested_sequentials_train_in_the_engine():
    first, activation, last = mlp(4, 5, 3)
    assert parts(nn.Linear(4, 3))[0].backend == "engine"
    expected, known = parts(mlp(4, 5, 3))
    history, own = parts(nn.Sequential(nn.Sequential(first), nn.Sequential(nn.Sequential(activation, last))))
    assert (history.backend, dict(history)) == ("engine", dict(expected))
    for mine, theirs in zip(own, known, strict=True):
        numpy.testing.assert_array_equal(mine, theirs)


def test_a_layer_that_became_part_of_a_larger_model_trains_there(dtype):
    """Building the larger model moves the parameters to other vectors."""
    inner, data = mlp(4, 6, 5, dtype=dtype), draw((23, 4), dtype)
    opt = optim.SGD(inner.parameters(), lr=0.1)
    fastbp.train_model(inner, data, draw((23, 5), dtype), None, None, nn.MSELoss(), opt, 1, 5)
    inner.predict(data)
    outer = nn.Sequential(inner, nn.Tanh(), nn.Linear(5, 3, rng=3, dtype=dtype))
    before = snapshot(inner)
    train(outer, (data, draw((23, 3), dtype), None, None), 2, 5)
    for name, (values, grad) in snapshot(inner).items():
        assert not numpy.array_equal(values, before[name][0])
        assert not numpy.array_equal(grad, before[name][1])
    hidden = data
    for module in inner:
        hidden = module(hidden)
    numpy.testing.assert_array_equal(inner.predict(data), hidden)

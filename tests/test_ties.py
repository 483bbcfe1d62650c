"""Tied parameters: layers that were given another's weight or bias stay one wherever the model goes."""

import copy
import pickle

import numpy
import pytest
from helpers import draw
from tied import TIED, step, ties

from fastbp import nn

DUPLICATES = {"deepcopy": copy.deepcopy} | {
    f"pickle {protocol}": lambda model, protocol=protocol: pickle.loads(pickle.dumps(model, protocol))
    for protocol in range(2, 6)
}


@pytest.fixture(params=TIED)
def tied(request, dtype):
    build, groups = TIED[request.param]
    return build(dtype), groups


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_a_copy_has_the_same_ties_and_none_with_the_original(tied, duplicate, dtype):
    model, groups = tied
    assert ties(model) == groups
    x = draw((7, 4), dtype)
    other = DUPLICATES[duplicate](model)
    assert ties(other) == groups
    assert not set(model.parameters()) & set(other.parameters())
    assert [name for name, _ in other.named_parameters()] == [name for name, _ in model.named_parameters()]
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        numpy.testing.assert_array_equal(mine.data, theirs.data)
    assert step(model, x) == step(other, x)


LAYERS = {
    "Linear": lambda: nn.Linear(3, 3, rng=0),
    "BatchNorm1d": lambda: nn.BatchNorm1d(3),
    "LayerNorm": lambda: nn.LayerNorm(3),
    "PReLU": lambda: nn.PReLU(3),
}


@pytest.mark.parametrize("use", ["forward", "predict"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_follows_another_of_the_same_parameters_that_is_converted(name, use):
    one, other, expected = LAYERS[name](), LAYERS[name](), LAYERS[name]().double()
    for parameter in vars(one).keys() & {"weight", "bias"}:
        setattr(other, parameter, getattr(one, parameter))
    other.predict(draw((4, 3), numpy.float32))
    one.double()
    with pytest.raises(TypeError, match=rf"^{name}.* takes float64 arrays, got float32"):
        getattr(other, use)(draw((4, 3), numpy.float32))
    x = draw((4, 3), numpy.float64)
    numpy.testing.assert_array_equal(getattr(other, use)(x), getattr(expected, use)(x))
    assert getattr(other, "dtype", x.dtype) == numpy.float64

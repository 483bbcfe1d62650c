"""Tied parameters: layers that were given another's weight or bias stay one wherever the model goes."""

import copy
import pickle

import numpy
import pytest
from helpers import draw
from tied import TIED, step, ties

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
    model.backward(model(x))
    other = DUPLICATES[duplicate](model)
    assert ties(other) == groups
    assert not set(model.parameters()) & set(other.parameters())
    assert [name for name, _ in other.named_parameters()] == [name for name, _ in model.named_parameters()]
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        numpy.testing.assert_array_equal(mine.grad, theirs.grad)
    assert step(model, x) == step(other, x)

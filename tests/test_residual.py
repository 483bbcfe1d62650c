"""Residual blocks within models: their backward, after whatever else was called meanwhile."""

import numpy
import pytest
from helpers import assert_unchanged, draw, snapshot

from fastbp import nn

F32 = numpy.float32
BLOCKS = {
    "of what runs in one call": lambda: nn.Residual(nn.Linear(3, 3, rng=1), nn.Tanh()),
    "of modules one by one": lambda: nn.Residual(nn.Linear(3, 3, rng=1), nn.PReLU()),
    "of a block": lambda: nn.Residual(nn.Residual(nn.Linear(3, 3, rng=1)), nn.LayerNorm(3)),
    "of a Sequential": lambda: nn.Residual(nn.Sequential(nn.Linear(3, 3, rng=1), nn.ReLU())),
}
AROUND = {
    "alone": lambda block: block,
    "in a model": lambda block: nn.Sequential(nn.Linear(3, 3, rng=0), block, nn.Linear(3, 3, rng=2)),
    "in a model within": lambda block: nn.Sequential(nn.Sequential(nn.Tanh(), block), nn.Linear(3, 3, rng=2)),
}
X, GRAD = draw((4, 3), F32), draw((4, 3), F32, seed=1)


@pytest.fixture(params=BLOCKS)
def block(request):
    return BLOCKS[request.param]()


@pytest.fixture(params=AROUND)
def model(request, block):
    return AROUND[request.param](block)


def linear_of(block):
    return next(module for module in block.modules() if isinstance(module, nn.Linear))


def test_a_backward_is_the_same_after_a_module_within_was_called_elsewhere(model, block):
    model(X)
    expected = model.backward(GRAD).copy()
    gradients = [parameter.grad.copy() for parameter in model.parameters()]
    model.zero_grad()
    model(X)
    linear_of(block)(2 * X)
    numpy.testing.assert_array_equal(model.backward(GRAD), expected)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        numpy.testing.assert_array_equal(parameter.grad, gradient)


def test_a_second_backward_through_a_block_is_refused_and_changes_nothing(model, block):
    output = model(X)
    (output * GRAD).sum().backward()
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="a second time"):
        model.backward(GRAD)
    with pytest.raises(RuntimeError, match="a second time"):
        output.backward(GRAD)
    assert_unchanged(model, before)


def test_several_backwards_may_follow_one_forward_where_the_earlier_ones_retain_it(model):
    model(X)
    expected = model.backward(GRAD, retain_graph=True).copy()
    once = [parameter.grad.copy() for parameter in model.parameters()]
    numpy.testing.assert_array_equal(model.backward(GRAD, retain_graph=True), expected)
    model.backward_parameters(GRAD)
    for parameter, grad in zip(model.parameters(), once, strict=True):
        numpy.testing.assert_allclose(parameter.grad, 3 * grad, rtol=1e-5, atol=1e-6)
    with pytest.raises(RuntimeError, match="a second time"):
        model.backward(GRAD)

"""A model called as a whole and its modules called one by one, and how the two are compared."""

import numpy
import pytest
from helpers import assert_unchanged, draw, snapshot
from same_bits import SMOOTH, Network

from fastbp import nn


def one_by_one(modules, x, grad_output, **options):
    """Copies of the output, the gradient of the input and all parameters' gradients."""
    for module in modules:
        x = module(x)
    return [x.copy(), *backward_one_by_one(modules, grad_output, **options)]


def backward_one_by_one(modules, grad_output, **options):
    for module in reversed(list(modules)):
        grad_output = module.backward(grad_output, **options)
    return [grad_output.copy(), *gradients(modules)]


def gradients(modules):
    return [parameter.grad.copy() for module in modules for parameter in module.parameters()]


def in_one(model, x, grad_output):
    output = model.forward(x).copy()
    assert model._chain is not None, "the modules were not called one by one"
    return [output, model.backward(grad_output, retain_graph=True).copy(), *gradients(model)]


def assert_bits(actual, expected):
    """The signs of zeros included; NaN equals NaN."""
    for one, two in zip(actual, expected, strict=True):
        assert (one.shape, one.dtype) == (two.shape, two.dtype)
        numpy.testing.assert_array_equal(one, two)
        numpy.testing.assert_array_equal(numpy.signbit(one) & (one == 0), numpy.signbit(two) & (two == 0))


def batch(network, shape, dtype):
    return draw((*shape, network.widths[0]), dtype, 1), draw((*shape, network.widths[-1]), dtype, 2)


def nested(dtype, seed=0):
    first, second = SMOOTH.build(dtype, seed), Network((4, 7, 3), ("ReLU", "Tanh")).build(dtype, seed + 1)
    return nn.Sequential(nn.Sequential(first), second)


def refused(model, grad_output, match):
    before = snapshot(model)
    for call in (model.backward, model.backward_parameters):
        with pytest.raises(RuntimeError, match=match):
            call(grad_output)
    assert_unchanged(model, before)

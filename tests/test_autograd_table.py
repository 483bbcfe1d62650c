"""Each differentiable function: its value, its gradient by finite differences, and both against PyTorch."""

import numpy
import pytest
import torch
from autograd_array_cases import CASES

import fastbp
from fastbp.autograd.functions import TABLE, Composed

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def leaves_of(arrays):
    return [fastbp.tensor(array, requires_grad=True) for array in arrays]


def weights_like(output, dtype):
    return numpy.asarray(numpy.random.default_rng(7).normal(size=numpy.shape(output)), dtype)


def test_every_row_of_the_table_has_a_case():
    assert {key for key in TABLE if not is_scipy(key)} == {case.key for case in CASES}


def is_scipy(key):
    return isinstance(key, numpy.ufunc) and getattr(numpy, key.__name__, None) is not key


@cases
def test_the_value_is_that_of_numpy_bit_for_bit(case, dtype):
    arrays = case.draw(dtype)
    with numpy.errstate(all="ignore"):
        value = case.mine(*leaves_of(arrays))
        expected = case.mine(*arrays)
    assert type(value) is fastbp.Tensor
    assert value.requires_grad
    if isinstance(TABLE.get(case.key), Composed):
        numpy.testing.assert_allclose(
            value.detach(), expected, rtol=1e-5 if dtype == numpy.float32 else 1e-12, atol=1e-6
        )
    else:
        numpy.testing.assert_array_equal(value.detach(), expected)
    assert value.dtype == numpy.asarray(expected).dtype
    assert value.shape == numpy.shape(expected)


@cases
def test_gradients_are_those_of_torch(case, dtype):
    arrays = case.draw(dtype)
    leaves, theirs = leaves_of(arrays), [torch.tensor(array, requires_grad=True) for array in arrays]
    with numpy.errstate(all="ignore"):
        output = case.mine(*leaves)
    expected = case.theirs(*theirs)
    tolerance = {"rtol": 2e-4, "atol": 2e-5} if dtype == numpy.float32 else {"rtol": 1e-10, "atol": 1e-12}
    numpy.testing.assert_allclose(output.detach(), expected.detach().numpy(), **tolerance)
    weights = weights_like(output, output.dtype)
    output.backward(weights)
    expected.backward(torch.tensor(weights, dtype=expected.dtype))
    for leaf, their_leaf in zip(leaves, theirs, strict=True):
        assert leaf.grad.dtype == dtype
        assert leaf.grad.shape == leaf.shape
        their_grad = torch.zeros_like(their_leaf) if their_leaf.grad is None else their_leaf.grad
        numpy.testing.assert_allclose(leaf.grad, their_grad.numpy(), **tolerance)


@cases
def test_gradients_are_those_of_finite_differences(case):
    arrays = case.draw(numpy.float64, seed=1)
    leaves = leaves_of(arrays)
    output = case.mine(*leaves)
    weights = weights_like(output, numpy.float64)
    output.backward(weights)
    step = 1e-6
    for position, (array, leaf) in enumerate(zip(arrays, leaves, strict=True)):
        direction = numpy.random.default_rng(3).normal(size=array.shape)
        ends = []
        for sign in (step, -step):
            moved = [other + sign * direction if index == position else other for index, other in enumerate(arrays)]
            ends.append(numpy.sum(numpy.asarray(case.mine(*moved_or_plain(moved))) * weights))
        slope = (ends[0] - ends[1]) / (2 * step)
        numpy.testing.assert_allclose(numpy.sum(leaf.grad * direction), slope, rtol=1e-5, atol=1e-6)


def moved_or_plain(arrays):
    """The same function without recording: of tensors, for methods that only they have."""
    return [fastbp.tensor(array) for array in arrays]


def test_a_gradient_is_never_written_to_and_never_shared(dtype):
    one, two = leaves_of([numpy.ones(3, dtype), numpy.ones(3, dtype)])
    first = numpy.ones(3, dtype)
    (one + two).backward(first)
    one.grad[0] = 5
    numpy.testing.assert_array_equal(two.grad, 1)
    numpy.testing.assert_array_equal(first, 1)


SPECIAL = numpy.array([numpy.nan, numpy.inf, -numpy.inf, 0.0, -0.0, 1.0, -1.0, 1e30, 1e-30])
TORCH_NAMES = {"power": "pow"}
UNARY = [
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh",
    "arcsin",
    "arccos", "arctan", "arcsinh", "arctanh", "square", "reciprocal", "negative", "sign",
]  # fmt: skip
BINARY = [
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "fmax", "fmin", "logaddexp", "hypot", "arctan2",
    "power",
]  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_nan_infinity_and_zero_give_the_gradients_of_torch(name, dtype):
    with numpy.errstate(all="ignore"):
        leaf, theirs = fastbp.tensor(SPECIAL.astype(dtype), requires_grad=True), torch.tensor(SPECIAL.astype(dtype))
    theirs.requires_grad_()
    with numpy.errstate(all="ignore"):
        getattr(numpy, name)(leaf).backward(numpy.ones_like(leaf))
    getattr(torch, name)(theirs).backward(torch.ones_like(theirs))
    numpy.testing.assert_allclose(leaf.grad, theirs.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize("name", BINARY)
def test_nan_infinity_and_zero_in_pairs_give_the_gradients_of_torch(name, dtype):
    x, y = (side.ravel().astype(dtype) for side in numpy.meshgrid(SPECIAL, SPECIAL))
    mine, theirs = leaves_of([x, y]), [torch.tensor(side, requires_grad=True) for side in (x, y)]
    with numpy.errstate(all="ignore"):
        getattr(numpy, name)(*mine).backward(numpy.ones_like(x))
    getattr(torch, TORCH_NAMES.get(name, name))(*theirs).backward(torch.ones(x.size, dtype=theirs[0].dtype))
    for leaf, their_leaf in zip(mine, theirs, strict=True):
        numpy.testing.assert_allclose(leaf.grad, their_leaf.grad.numpy(), rtol=1e-5)


def test_the_slope_of_an_absolute_value_at_nan_is_nan_where_torch_has_zero(dtype):
    leaf = fastbp.tensor(SPECIAL.astype(dtype), requires_grad=True)
    numpy.abs(leaf).sum().backward()
    numpy.testing.assert_array_equal(leaf.grad, numpy.sign(SPECIAL))

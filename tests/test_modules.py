"""What every module does beyond its numbers: shapes, buffers, accumulation, special values, limits."""

import numpy
import pytest
from helpers import (
    ACTIVATIONS,
    LAYOUTS,
    assert_close,
    assert_same_gradients,
    draw,
    leaf,
    mlp,
    tensor,
    twin,
)

from fastbp import nn

# One of each kind, five features in; every test of "every module" runs over these.
MODULES = {
    "Linear": lambda dtype: nn.Linear(5, 3, rng=0, dtype=dtype),
    "Linear without bias": lambda dtype: nn.Linear(5, 3, bias=False, rng=0, dtype=dtype),
    "Linear of one output": lambda dtype: nn.Linear(5, 1, rng=0, dtype=dtype),
    "ReLU": lambda dtype: nn.ReLU(),
    "Tanh": lambda dtype: nn.Tanh(),
    "Sigmoid": lambda dtype: nn.Sigmoid(),
    "Sequential": lambda dtype: mlp(5, 17, 4, 3, dtype=dtype),
    "Sequential of activations": lambda dtype: nn.Sequential(nn.Tanh(), nn.Sigmoid(), nn.ReLU()),
    "nested Sequential": lambda dtype: nn.Sequential(
        mlp(5, 4, 6, activation="Tanh", dtype=dtype), nn.Sigmoid(), nn.Sequential(mlp(6, 3, 2, dtype=dtype))
    ),
}
SHAPES = [(7, 5), (1, 5), (0, 5), (5,), (2, 3, 5), (2, 1, 2, 5), (3, 0, 5), (129, 5)]


@pytest.fixture(params=MODULES)
def build(request):
    return MODULES[request.param]


def run_both(module, x):
    """Forward and backward of ``x`` in both libraries; asserts that everything they leave behind agrees."""
    other, theirs = twin(module), leaf(x)
    expected = other(theirs)
    output = module(x)
    assert output.dtype == x.dtype
    assert_close(output, expected)
    grad_output = draw(output.shape, x.dtype.type, seed=99)
    expected.backward(tensor(grad_output))
    grad_input = module.backward(grad_output)
    assert grad_input.dtype == x.dtype
    assert_close(grad_input, theirs.grad)
    assert_same_gradients(module, other)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward_and_backward_equal_torch(build, shape, dtype):
    run_both(build(dtype), draw(shape, dtype))


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layout_of_grad_output_does_not_change_the_gradients(build, name, dtype):
    x = draw((7, 5), dtype)
    plain, other = build(dtype), build(dtype)
    grad_output = LAYOUTS[name](draw(plain(x).shape, dtype, seed=1))
    other(x)
    expected = plain.backward(numpy.array(grad_output, order="C"))
    numpy.testing.assert_array_equal(other.backward(grad_output), expected)
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        numpy.testing.assert_array_equal(two.grad, one.grad)


def test_inputs_and_grad_outputs_are_left_as_they_are(build, dtype):
    module, x = build(dtype), draw((7, 5), dtype)
    grad_output = draw(module(x).shape, dtype, seed=1)
    module.backward(grad_output)
    numpy.testing.assert_array_equal(x, draw((7, 5), dtype))
    numpy.testing.assert_array_equal(grad_output, draw(grad_output.shape, dtype, seed=1))


def test_gradients_accumulate_over_two_backwards_as_in_torch(build, dtype):
    module = build(dtype)
    other = twin(module)
    for seed, rows in enumerate((7, 3)):
        x = draw((rows, 5), dtype, seed)
        expected, output = other(tensor(x)), module(x)
        for again in (10, 20):
            grad_output = draw(output.shape, dtype, again + seed)
            if expected.requires_grad:
                expected.backward(tensor(grad_output), retain_graph=True)
            module.backward(grad_output, retain_graph=True)
    assert_same_gradients(module, other)


def test_two_backwards_after_one_forward_give_the_same_input_gradient(build, dtype):
    module, x = build(dtype), draw((7, 5), dtype)
    grad_output = draw(module(x).shape, dtype, seed=1)
    first = module.backward(grad_output, retain_graph=True).copy()
    numpy.testing.assert_array_equal(module.backward(grad_output), first)


def test_zero_grad_sets_every_gradient_to_none(dtype):
    model, x = MODULES["nested Sequential"](dtype), draw((7, 5), dtype)
    model.backward(model(x))
    assert all(parameter.grad.any() for parameter in model.parameters())
    model.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_smaller_batch_after_a_larger_one_is_not_mixed_with_it(build, dtype):
    module = build(dtype)
    module.backward(module(draw((50, 5), dtype, seed=1)))
    module.zero_grad()
    run_both(module, draw((3, 5), dtype))


def test_relu_of_nan_is_nan_and_lets_its_gradient_through(dtype):
    relu = nn.ReLU()
    x = numpy.array([numpy.nan, -1.0, 0.0, -0.0, 2.0], dtype)
    numpy.testing.assert_array_equal(relu(x), numpy.array([numpy.nan, 0, 0, 0, 2], dtype))
    numpy.testing.assert_array_equal(relu.backward(numpy.ones(5, dtype)), numpy.array([1, 0, 0, 0, 1], dtype))


@pytest.mark.parametrize(("name", "low"), [("Tanh", -1.0), ("Sigmoid", 0.0)])
def test_saturated_activations_reach_their_bounds_with_zero_slope(name, low, dtype):
    module = getattr(nn, name)()
    x = numpy.array([-numpy.inf, -1e30, -1e4, 1e4, 1e30, numpy.inf], dtype)
    numpy.testing.assert_array_equal(module(x), numpy.array([low] * 3 + [1.0] * 3, dtype))
    numpy.testing.assert_array_equal(module.backward(numpy.ones(6, dtype)), numpy.zeros(6, dtype))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3, 4, 5)], ids=str)
def test_activations_take_any_shape(name, shape, dtype):
    run_both(getattr(nn, name)(), numpy.asarray(draw(shape, dtype)))


def test_parameters_are_those_of_now_wherever_a_module_or_a_parameter_was_set_or_deleted():
    model = nn.Sequential(nn.Linear(4, 3), nn.Residual(nn.Linear(3, 3)))
    whole = nn.ModuleList([model])

    def expected():
        return [parameter for _, parameter in whole.named_parameters()]

    assert list(whole.parameters()) == expected()
    model[0].bias = None
    assert list(whole.parameters()) == expected()
    model[0].weight = nn.Parameter(numpy.ones((3, 4), numpy.float32))
    model[0].extra = nn.Parameter(numpy.ones(2, numpy.float32))
    assert list(whole.parameters()) == expected()
    del model[0].extra
    model[1] = nn.Linear(3, 2)
    assert list(whole.parameters()) == expected()
    model.append(nn.Linear(2, 3))
    model[2].bias = model[0].bias = nn.Parameter(numpy.ones(3, numpy.float32))  # tied
    whole.append(nn.PReLU())
    assert list(whole.parameters()) == expected()
    assert next(whole.parameters()) is model[0].weight

"""Every module's values and gradients: against torch, against the oracles, against finite differences."""

import numpy
import oracles
import pytest
import torch
from helpers import (
    ACTIVATIONS,
    LAYOUTS,
    assert_close,
    assert_gradient,
    assert_same_gradients,
    draw,
    finite_difference,
    leaf,
    mlp,
    oracle_network,
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
def test_the_layout_of_the_input_does_not_change_the_result(build, name, dtype):
    run_both(build(dtype), LAYOUTS[name](draw((7, 5), dtype)))


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


def test_gradients_agree_with_finite_differences_to_1e_10(build):
    # With this seed every input of a ReLU is at least 0.03 from its kink, six times what the differences reach.
    module, x = build(numpy.float64), draw((6, 5), numpy.float64, seed=2834)
    direction = draw(module(x).shape, numpy.float64, seed=6)
    grad_input = module.backward(direction).copy()

    def projection():
        return float((module.predict(x) * direction).sum())

    assert_gradient(grad_input, finite_difference(projection, x))
    for name, parameter in module.named_parameters():
        assert parameter.grad.any(), f"{name} has no gradient to compare"
        assert_gradient(parameter.grad, finite_difference(projection, parameter.data))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_network_agrees_with_the_oracle(activation):
    model, x = mlp(5, 9, 4, 2, activation=activation, dtype=numpy.float64), draw((11, 5), numpy.float64)
    network = oracle_network(model)
    values = oracles.forward(network, x)
    numpy.testing.assert_allclose(model(x), values[-1], rtol=1e-13, atol=1e-14)
    grad_output = draw((11, 2), numpy.float64, seed=1)
    gradients, grad_input = oracles.backward(network, values, grad_output)
    numpy.testing.assert_allclose(model.backward(grad_output), grad_input, rtol=1e-12, atol=1e-14)
    flat = [grad for pair in gradients for grad in pair]
    for parameter, expected in zip(model.parameters(), flat, strict=True):
        numpy.testing.assert_allclose(parameter.grad, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("in_features", [1, 2, 7, 8, 9, 16, 31, 33, 64])
@pytest.mark.parametrize("out_features", [1, 3, 8, 15, 17, 32])
def test_linear_of_any_width_equals_torch(in_features, out_features, dtype):
    for rows in (1, 2, 13, 50):
        run_both(nn.Linear(in_features, out_features, rng=rows, dtype=dtype), draw((rows, in_features), dtype))


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
            module.backward(grad_output)
    assert_same_gradients(module, other)


def test_two_backwards_after_one_forward_give_the_same_input_gradient(build, dtype):
    module, x = build(dtype), draw((7, 5), dtype)
    grad_output = draw(module(x).shape, dtype, seed=1)
    first = module.backward(grad_output).copy()
    numpy.testing.assert_array_equal(module.backward(grad_output), first)


def test_zero_grad_sets_every_gradient_to_zero(dtype):
    model, x = MODULES["nested Sequential"](dtype), draw((7, 5), dtype)
    model.backward(model(x))
    assert all(parameter.grad.any() for parameter in model.parameters())
    model.zero_grad()
    assert not any(parameter.grad.any() for parameter in model.parameters())


def test_a_smaller_batch_after_a_larger_one_is_not_mixed_with_it(build, dtype):
    module = build(dtype)
    module.backward(module(draw((50, 5), dtype, seed=1)))
    module.zero_grad()
    run_both(module, draw((3, 5), dtype))


@pytest.mark.parametrize("bad", [numpy.nan, numpy.inf, -numpy.inf])
def test_nan_and_infinity_pass_as_in_torch(build, bad, dtype):
    x = draw((7, 5), dtype)
    x[2, 1] = x[6, 4] = bad
    run_both(build(dtype), x)


@pytest.mark.parametrize("bad", [numpy.nan, numpy.inf, -numpy.inf])
def test_nan_and_infinity_in_grad_output_pass_as_in_torch(build, bad, dtype):
    module, x = build(dtype), draw((7, 5), dtype)
    other, theirs = twin(module), leaf(x)
    grad_output = draw(module(x).shape, dtype, seed=1)
    grad_output[3, 0] = grad_output[5, -1] = bad
    other(theirs).backward(tensor(grad_output))
    assert_close(module.backward(grad_output), theirs.grad)
    assert_same_gradients(module, other)


def test_relu_of_nan_is_nan_and_lets_its_gradient_through(dtype):
    relu = nn.ReLU()
    x = numpy.array([numpy.nan, -1.0, 0.0, -0.0, 2.0], dtype)
    numpy.testing.assert_array_equal(relu(x), numpy.array([numpy.nan, 0, 0, 0, 2], dtype))
    numpy.testing.assert_array_equal(relu.backward(numpy.ones(5, dtype)), numpy.array([1, 0, 0, 0, 1], dtype))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_equal_torch_over_every_magnitude(name, dtype):
    smallest, largest = numpy.finfo(dtype).tiny, numpy.finfo(dtype).max
    magnitudes = numpy.exp2(numpy.linspace(numpy.log2(smallest), numpy.log2(largest) - 0.01, 2001)).astype(dtype)
    denormal = smallest / dtype(1024)
    x = numpy.concatenate([-magnitudes, [0.0, -0.0, denormal, -denormal], magnitudes]).astype(dtype)
    module, theirs = getattr(nn, name)(), leaf(x)
    expected = getattr(torch.nn, name)()(theirs)
    expected.backward(torch.ones_like(theirs))
    output = module(x)
    assert_close(output, expected)
    assert_close(module.backward(numpy.ones_like(x)), theirs.grad)


@pytest.mark.parametrize(("name", "low"), [("Tanh", -1.0), ("Sigmoid", 0.0)])
def test_saturated_activations_reach_their_bounds_with_zero_slope(name, low, dtype):
    module = getattr(nn, name)()
    x = numpy.array([-numpy.inf, -1e30, -1e4, 1e4, 1e30, numpy.inf], dtype)
    numpy.testing.assert_array_equal(module(x), numpy.array([low] * 3 + [1.0] * 3, dtype))
    numpy.testing.assert_array_equal(module.backward(numpy.ones(6, dtype)), numpy.zeros(6, dtype))


@pytest.mark.parametrize("name", ["Tanh", "Sigmoid"])
def test_saturating_activations_agree_with_the_oracle(name):
    x = numpy.linspace(-20.0, 20.0, 4001)
    module = getattr(nn, name)()
    numpy.testing.assert_allclose(module(x), oracles.activation(name, x), rtol=1e-14)
    slope = module.backward(numpy.ones_like(x))
    numpy.testing.assert_allclose(slope, oracles.activation_derivative(name, x), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3, 4, 5)], ids=str)
def test_activations_take_any_shape(name, shape, dtype):
    run_both(getattr(nn, name)(), numpy.asarray(draw(shape, dtype)))

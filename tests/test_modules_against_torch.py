"""Every module against torch, the oracles and finite differences, over drawn networks, shapes, layouts and numbers."""

from itertools import count

import numpy
import oracles
import torch
from exact import ExactProduct, assert_gradient_near
from helpers import (
    ACTIVATIONS,
    LAYOUTS,
    assert_close,
    assert_gradient,
    assert_same_gradients,
    assert_same_parameters,
    draw,
    finite_difference,
    leaf,
    oracle_network,
    tensor,
    twin,
)
from hypothesis import given
from hypothesis import strategies as st
from strategies import MIXES, arrays, dtypes, examples, rows, seeds, widths

from fastbp import nn, optim

# Networks are compared at tolerances relative to each number, so none of huge numbers, whose sums cancel.
TAME = ("normal", "normal and rarely special")
small = st.integers(1, 6)
reductions = st.sampled_from(["sum", "mean"])


@st.composite
def modules(choose, dtype, widths, features, depth=2):
    """A module that takes ``features``: a Linear, an activation, or several in a Sequential, which may hold another."""
    kinds = ["Linear", "Linear without bias", *ACTIVATIONS, *["Sequential"] * 3 * (depth > 0)]
    kind = choose(st.sampled_from(kinds))
    if kind in ACTIVATIONS:
        return getattr(nn, kind)()
    if kind != "Sequential":
        return nn.Linear(features, choose(widths), kind == "Linear", rng=choose(seeds), dtype=dtype)
    children = []
    for _ in range(choose(st.integers(1, 4))):
        children.append(choose(modules(dtype, widths, features, depth - 1)))
        features = children[-1].predict(numpy.zeros((1, features), dtype)).shape[1]
    return nn.Sequential(*children)


def flat_network(module):
    """The layers of a module, in order, without the Sequentials around them."""
    if not isinstance(module, nn.Sequential):
        return nn.Sequential(module)
    return nn.Sequential(*(layer for child in module for layer in flat_network(child)))


def shapes(features):
    """A number of rows, or none, one or several leading dimensions."""
    leading = rows.map(lambda n: (n,)) | st.lists(st.integers(0, 4), max_size=3).map(tuple)
    return leading.map(lambda sizes: (*sizes, features))


@st.composite
def laid_out(choose, shape, dtype, mixes=tuple(MIXES)):
    """Numbers in any layout that the shape can have."""
    array = choose(arrays(shape, dtype, mixes))
    return LAYOUTS[choose(st.sampled_from(sorted(LAYOUTS)))](array) if shape and array.size else array


@given(dtypes, st.data())
@examples(max_examples=250)
def test_forward_and_backward_equal_torch(dtype, data):
    features = data.draw(widths(dtype))
    module = data.draw(modules(dtype, widths(dtype), features))
    x = data.draw(laid_out(data.draw(shapes(features)), dtype, TAME))
    other, theirs = twin(module), leaf(x)
    output, expected = module(x), other(theirs)
    assert output.dtype == dtype
    assert_close(output, expected)
    grad_output = data.draw(laid_out(output.shape, dtype, TAME))
    grad_input = module.backward(grad_output)
    expected.backward(tensor(grad_output))
    assert grad_input.dtype == dtype
    assert_close(grad_input, theirs.grad)
    assert_same_gradients(module, other)


@given(dtypes, st.booleans(), st.data())
@examples(max_examples=150)
def test_linear_of_any_numbers(dtype, has_bias, data):
    i, o = data.draw(widths(dtype)), data.draw(widths(dtype))
    layer = nn.Linear(i, o, has_bias, dtype=dtype)
    for parameter in layer.parameters():
        parameter.data[...] = data.draw(arrays(parameter.shape, dtype))
    x = data.draw(laid_out(data.draw(shapes(i)), dtype))
    grad_output = data.draw(laid_out((*x.shape[:-1], o), dtype))
    other, theirs = twin(layer), leaf(x)
    output, expected = layer(x), other(theirs)
    grad_input = layer.backward(grad_output)
    expected.backward(tensor(grad_output))

    x, grad_output, zero = x.reshape(-1, i), grad_output.reshape(-1, o), dtype(0)
    exact = [
        (ExactProduct(layer.bias.data if has_bias else zero, x, layer.weight.data.T), output, expected.detach()),
        (ExactProduct(zero, grad_output, layer.weight.data), grad_input, theirs.grad),
        (ExactProduct(zero, grad_output.T, x), layer.weight.grad, other.weight.grad),
    ]
    if has_bias:
        ones = numpy.ones((len(x), 1), dtype)
        exact.append((ExactProduct(zero, grad_output.T, ones), layer.bias.grad, other.bias.grad))
    for product, mine, torchs in exact:
        product.assert_near(mine.reshape(product.value.shape))
        product.assert_near(torchs.reshape(product.value.shape))


@given(st.sampled_from(ACTIVATIONS), dtypes, st.data())
@examples(max_examples=150)
def test_activations_of_any_numbers_equal_torch(name, dtype, data):
    x = data.draw(laid_out(data.draw(shapes(data.draw(widths(dtype)))), dtype))
    module, theirs = getattr(nn, name)(), leaf(x)
    output, expected = module(x), getattr(torch.nn, name)()(theirs)
    assert_close(output, expected)
    grad_output = data.draw(laid_out(x.shape, dtype))
    expected.backward(tensor(grad_output))
    assert_gradient_near(name, module.backward(grad_output), grad_output, output)
    assert_gradient_near(name, theirs.grad.numpy(), grad_output, expected.detach().numpy())


@given(st.integers(0, 7), small, st.data())
@examples(max_examples=100)
def test_a_network_agrees_with_the_oracle(n, features, data):
    module = flat_network(data.draw(modules(numpy.float64, small, features)))
    x = data.draw(arrays((n, features), numpy.float64, ["normal"]))
    network = oracle_network(module)
    values = oracles.forward(network, x)
    numpy.testing.assert_allclose(module(x), values[-1], rtol=1e-13, atol=1e-14)
    grad_output = data.draw(arrays(values[-1].shape, numpy.float64, ["normal"]))
    gradients, grad_input = oracles.backward(network, values, grad_output)
    numpy.testing.assert_allclose(module.backward(grad_output), grad_input, rtol=1e-12, atol=1e-14)
    expected = [grad for pair in gradients for grad in pair if grad is not None]
    for parameter, grad in zip(module.parameters(), expected, strict=True):
        numpy.testing.assert_allclose(parameter.grad, grad, rtol=1e-12, atol=1e-14)


def has_a_kink_near(network, x):
    """Whether an input of a ReLU could change its sign while finite differences are taken; one that is 0 stays 0."""
    for layer in network:
        if isinstance(layer, nn.ReLU) and ((x != 0) & (abs(x) < 0.02)).any():
            return True
        x = layer.predict(x)
    return False


@given(st.integers(1, 3), small, seeds, st.data())
@examples(max_examples=60)
def test_gradients_agree_with_finite_differences_to_1e_10(n, features, seed, data):
    module = data.draw(modules(numpy.float64, small, features))
    draws = (draw((n, features), numpy.float64, seed + attempt) for attempt in count())
    x = next(x for x in draws if not has_a_kink_near(flat_network(module), x))
    direction = draw(module(x).shape, numpy.float64, seed + 1)
    grad_input = module.backward(direction).copy()

    def projection():
        return float((module.predict(x) * direction).sum())

    assert_gradient(grad_input, finite_difference(projection, x))
    for parameter in module.parameters():
        assert_gradient(parameter.grad, finite_difference(projection, parameter.data))


@given(dtypes, reductions, st.data())
@examples(max_examples=200)
def test_mse_loss_equals_torch(dtype, reduction, data):
    shape = data.draw(shapes(data.draw(widths(dtype))) | st.just(()) | st.just((3, 0)))
    prediction, target = data.draw(laid_out(shape, dtype, TAME)), data.draw(laid_out(shape, dtype, TAME))
    criterion, theirs = nn.MSELoss(reduction), leaf(prediction)
    expected = torch.nn.MSELoss(reduction=reduction)(theirs, tensor(target))
    expected.backward()
    loss = criterion(prediction, target)
    assert isinstance(loss, float)
    assert_close(numpy.array(loss, dtype), expected)
    numpy.testing.assert_array_equal(criterion.evaluate(prediction, target), loss)
    grad_prediction = criterion.backward()
    assert grad_prediction.dtype == dtype
    assert_close(grad_prediction, theirs.grad)


@given(reductions, st.lists(st.integers(1, 5), max_size=3).map(tuple), seeds)
@examples(max_examples=60)
def test_mse_loss_agrees_with_the_oracle_and_finite_differences(reduction, shape, seed):
    prediction, target = (numpy.asarray(draw(shape, numpy.float64, seed + step)) for step in (0, 1))
    criterion = nn.MSELoss(reduction)
    expected, grad = oracles.mse(prediction, target, reduction)
    numpy.testing.assert_allclose(criterion(prediction, target), expected, rtol=1e-14)
    numpy.testing.assert_allclose(criterion.backward(), grad, rtol=1e-14)
    assert_gradient(grad, finite_difference(lambda: criterion(prediction, target), prediction))


@given(dtypes, st.lists(st.sampled_from([0.0, 1e-3, 0.1, 7.0]), min_size=1, max_size=4), st.data())
@examples(max_examples=60)
def test_steps_of_sgd_equal_torch(dtype, rates, data):
    features = data.draw(widths(dtype))
    model = nn.Sequential(nn.Linear(features, 3, dtype=dtype), data.draw(modules(dtype, widths(dtype), 3)))
    other = twin(model)
    opt, theirs = optim.SGD(model.parameters(), lr=1.0), torch.optim.SGD(other.parameters(), lr=1.0)
    for lr in rates:
        opt.lr = theirs.param_groups[0]["lr"] = lr
        for mine, torchs in zip(model.parameters(), other.parameters(), strict=True):
            mine.grad = data.draw(arrays(mine.shape, dtype, TAME))
            torchs.grad = tensor(mine.grad)
        opt.step()
        theirs.step()
        assert_same_parameters(model, other)

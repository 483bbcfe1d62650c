"""Every kernel against torch and the exact result, over drawn sizes, kinds of numbers and places in memory.

Shapes: input (n, i), weight (o, i), bias (o,), output (n, o).
"""

import numpy
import torch
from exact import ExactProduct, assert_gradient_near
from helpers import leaf, tensor
from hypothesis import given
from hypothesis import strategies as st
from strategies import arrays, dtypes, examples, rows, sizes, widths

import fastbp_kernels
from fastbp_kernels import (
    linear_backward,
    linear_backward_input,
    linear_backward_input_share,
    linear_backward_parameters,
    linear_backward_parameters_share,
    linear_backward_share,
    linear_forward,
    linear_forward_share,
    mse_forward,
    mse_forward_backward,
    sgd_step,
)
from fastbp_kernels.linalg.product import K_BLOCK
from fastbp_kernels.linalg.tile import STEPS

aten = torch.ops.aten
TORCH_FORWARD = {"exp": torch.exp, "relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
TORCH_BACKWARD = {
    "ReLU": lambda grad, y: aten.threshold_backward(grad, y, 0),
    "Tanh": aten.tanh_backward,
    "Sigmoid": aten.sigmoid_backward,
}


def kernel(name):
    return getattr(fastbp_kernels, name)


def assert_equal(actual, expected):
    """By ``assert_close`` at its own tolerances relative to the number; near zero no more than underflow is granted."""
    expected = torch.as_tensor(expected)
    atol = 4 * torch.finfo(expected.dtype).smallest_normal * torch.finfo(expected.dtype).eps
    rtol = {torch.float32: 1.3e-6, torch.float64: 1e-13}[expected.dtype]
    torch.testing.assert_close(torch.from_numpy(actual.copy()), expected, rtol=rtol, atol=atol, equal_nan=True)


@st.composite
def layers(choose):
    """A layer's n, i, o and dtype; sometimes one of the three is summed in more than one stretch."""
    dtype = choose(dtypes)
    sizes = [choose(rows), choose(widths(dtype)), choose(widths(dtype))]
    if choose(st.integers(0, 5)) == 5:
        sizes[choose(st.integers(0, 2))] = choose(st.sampled_from([STEPS + 1, K_BLOCK, K_BLOCK + 1]))
    return *sizes, dtype


def run_alone_and_shared(kernel, share, ranks, arguments, written):
    """Run a kernel whole; assert that its shares, one after the other, write the same bits."""
    shared = [array.copy() if number in written else array for number, array in enumerate(arguments)]
    kernel(*arguments)
    for rank in range(ranks):
        share(rank, ranks, *shared)
    for number in written:
        numpy.testing.assert_array_equal(shared[number], arguments[number])


@given(layers(), st.booleans(), st.integers(1, 4), st.data())
@examples(max_examples=150)
def test_linear_forward(layer, has_bias, ranks, data):
    n, i, o, dtype = layer
    x, weight = data.draw(arrays((n, i), dtype)), data.draw(arrays((o, i), dtype))
    bias = data.draw(arrays((o if has_bias else 0,), dtype))
    output = data.draw(arrays((n, o), dtype))
    run_alone_and_shared(linear_forward, linear_forward_share, ranks, [x, weight, bias, output], [3])
    exact = ExactProduct(bias if has_bias else dtype(0), x, weight.T)
    exact.assert_near(output)
    exact.assert_near(torch.nn.functional.linear(tensor(x), tensor(weight), tensor(bias) if has_bias else None))


@given(layers(), st.integers(1, 4), st.data())
@examples(max_examples=150)
def test_linear_backward_input(layer, ranks, data):
    n, i, o, dtype = layer
    grad_output, weight = data.draw(arrays((n, o), dtype)), data.draw(arrays((o, i), dtype))
    grad_input = data.draw(arrays((n, i), dtype))
    run_alone_and_shared(
        linear_backward_input, linear_backward_input_share, ranks, [grad_output, weight, grad_input], [2]
    )
    theirs = leaf(numpy.zeros((n, i), dtype))
    torch.nn.functional.linear(theirs, tensor(weight)).backward(tensor(grad_output))
    exact = ExactProduct(dtype(0), grad_output, weight)
    exact.assert_near(grad_input)
    exact.assert_near(theirs.grad)


@given(layers(), st.booleans(), st.integers(1, 4), st.data())
@examples(max_examples=150)
def test_linear_backward_parameters(layer, has_bias, ranks, data):
    """The gradients add to what is there, as they do in torch."""
    n, i, o, dtype = layer
    grad_output, x = data.draw(arrays((n, o), dtype)), data.draw(arrays((n, i), dtype))
    grad_weight, grad_bias = data.draw(arrays((o, i), dtype)), data.draw(arrays((o if has_bias else 0,), dtype))
    weight, bias = leaf(numpy.zeros((o, i), dtype)), leaf(numpy.zeros(o, dtype))
    weight.grad, bias.grad = tensor(grad_weight), tensor(grad_bias) if has_bias else None
    torch.nn.functional.linear(tensor(x), weight, bias).backward(tensor(grad_output))
    exact = ExactProduct(grad_weight, grad_output.T, x)
    exact_bias = ExactProduct(grad_bias[:, None], grad_output.T, numpy.ones((n, 1), dtype)) if has_bias else None
    run_alone_and_shared(
        linear_backward_parameters, linear_backward_parameters_share, ranks,
        [grad_output, x, grad_weight, grad_bias], [2, 3],
    )  # fmt: skip
    exact.assert_near(grad_weight)
    exact.assert_near(weight.grad)
    if has_bias:
        exact_bias.assert_near(grad_bias[:, None])
        exact_bias.assert_near(bias.grad[:, None])


@given(layers(), st.booleans(), st.integers(1, 4), st.data())
@examples(max_examples=50)
def test_linear_backward_does_what_its_two_parts_do(layer, has_bias, ranks, data):
    n, i, o, dtype = layer
    grad_output, x, weight = (data.draw(arrays(shape, dtype)) for shape in ((n, o), (n, i), (o, i)))
    grad_weight, grad_bias = data.draw(arrays((o, i), dtype)), data.draw(arrays((o if has_bias else 0,), dtype))
    grad_input = data.draw(arrays((n, i), dtype))
    parts = [array.copy() for array in (grad_weight, grad_bias, grad_input)]
    linear_backward_parameters(grad_output, x, *parts[:2])
    linear_backward_input(grad_output, weight, parts[2])
    run_alone_and_shared(
        linear_backward, linear_backward_share, ranks,
        [grad_output, x, weight, grad_weight, grad_bias, grad_input], [3, 4, 5],
    )  # fmt: skip
    for whole, part in zip((grad_weight, grad_bias, grad_input), parts, strict=True):
        numpy.testing.assert_array_equal(whole, part)


@given(st.sampled_from(sorted(TORCH_FORWARD)), dtypes, st.data())
@examples(max_examples=300)
def test_activations(name, dtype, data):
    x = data.draw(arrays((data.draw(sizes(dtype)),), dtype))
    output = data.draw(arrays(x.shape, dtype))
    kernel(f"{name}_forward")(x, output)
    assert_equal(output, TORCH_FORWARD[name](tensor(x)))


@given(st.sampled_from(sorted(TORCH_BACKWARD)), dtypes, st.data())
@examples(max_examples=300)
def test_derivatives(name, dtype, data):
    shape = (data.draw(sizes(dtype)),)
    grad_output, output, grad_input = (data.draw(arrays(shape, dtype)) for _ in range(3))
    kernel(f"{name.lower()}_forward")(output, output)
    kernel(f"{name.lower()}_backward")(grad_output, output, grad_input)
    for result in (grad_input, TORCH_BACKWARD[name](tensor(grad_output), tensor(output)).numpy()):
        assert_gradient_near(name, result, grad_output, output)


@given(dtypes, st.sampled_from([0.0, 1e-3, 0.3, 7.0, 1e30]), st.data())
@examples(max_examples=150)
def test_a_step_of_descent(dtype, lr, data):
    shape = (data.draw(sizes(dtype)),)
    parameter, grad = data.draw(arrays(shape, dtype)), data.draw(arrays(shape, dtype))
    exact = ExactProduct(parameter[:, None], grad[:, None], numpy.full((1, 1), -lr, dtype))
    theirs = leaf(parameter)
    theirs.grad = tensor(grad)
    torch.optim.SGD([theirs], lr=lr).step()
    sgd_step(parameter, grad, dtype(lr))
    exact.assert_near(parameter[:, None])
    exact.assert_near(theirs.detach()[:, None])


@given(dtypes, rows, st.data())
@examples(max_examples=200)
def test_squared_error(dtype, n, data):
    """The sum is one of float64: it keeps its digits, and does not overflow, where torch's of float32 does."""
    shape = (n, data.draw(widths(dtype)))
    prediction, target, grad = (data.draw(arrays(shape, dtype)) for _ in range(3))
    theirs = leaf(prediction)
    loss = torch.nn.functional.mse_loss(theirs, tensor(target), reduction="sum")
    loss.backward()
    total = mse_forward_backward(prediction, target, dtype(2), grad)
    numpy.testing.assert_array_equal(mse_forward(prediction, target), total)
    with numpy.errstate(over="ignore", invalid="ignore"):
        difference = (prediction - target).reshape(1, -1)
    wide = difference.astype(float)
    ExactProduct(0.0, wide, wide.T).assert_near([[total]])
    ExactProduct(dtype(0), difference, difference.T).assert_near([[loss.item()]])
    assert_equal(grad, theirs.grad)

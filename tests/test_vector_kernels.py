"""The kernels that go element by element: every size around the vectors' lanes, in place, nothing touched beside."""

import numpy
import oracles
import pytest
from helpers import draw
from memory import Fence, Guarded, assert_survives

import fastbp_kernels

SIZES = [*range(70), 127, 128, 129, 1000]
SHAPES = [(n, o) for n in (0, 1, 2, 15, 16, 17, 33) for o in (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33)]
FORWARD = {"relu": "ReLU", "tanh": "Tanh", "sigmoid": "Sigmoid"}
BACKWARD = {
    "relu": lambda grad, y: numpy.where(y <= 0, 0, grad),
    "tanh": lambda grad, y: grad * (1 - y * y),
    "sigmoid": lambda grad, y: grad * (1 - y) * y,
}


def kernel(name):
    return getattr(fastbp_kernels, name)


def close(dtype, ulp):
    return {"rtol": ulp * numpy.finfo(dtype).eps, "atol": numpy.finfo(dtype).tiny}


@pytest.mark.parametrize("name", FORWARD)
def test_activations_at_every_size_and_in_place(name, dtype):
    for size in SIZES:
        guarded, values = Guarded(), 3 * draw(size, dtype)
        expected = oracles.activation(FORWARD[name], values.astype(numpy.float64))
        x, y = guarded(values), guarded(numpy.full(size, 7, dtype))
        kernel(f"{name}_forward")(x, y)
        numpy.testing.assert_allclose(y, expected, **close(dtype, 2))
        numpy.testing.assert_array_equal(x, values)
        kernel(f"{name}_forward")(x, x)
        numpy.testing.assert_array_equal(x, y)
        guarded.assert_untouched()


@pytest.mark.parametrize("name", BACKWARD)
def test_derivatives_at_every_size_and_in_place(name, dtype):
    for size in SIZES:
        guarded, values, outputs = Guarded(), draw(size, dtype), numpy.tanh(draw(size, dtype, seed=1))
        expected = BACKWARD[name](values.astype(numpy.float64), outputs.astype(numpy.float64))
        grad, y, grad_input = guarded(values), guarded(outputs), guarded(numpy.full(size, 7, dtype))
        kernel(f"{name}_backward")(grad, y, grad_input)
        numpy.testing.assert_allclose(grad_input, expected, rtol=0, atol=16 * numpy.finfo(dtype).eps)
        numpy.testing.assert_array_equal(grad, values)
        numpy.testing.assert_array_equal(y, outputs)
        kernel(f"{name}_backward")(grad, y, grad)
        numpy.testing.assert_array_equal(grad, grad_input)
        guarded.assert_untouched()


def test_steps_of_descent_at_every_size(dtype):
    for size in SIZES:
        guarded, parameter, grad = Guarded(), draw(size, dtype), draw(size, dtype, seed=1)
        data, slope, lr = guarded(parameter), guarded(grad), dtype(0.3)
        kernel("sgd_step")(data, slope, lr)
        expected = parameter.astype(numpy.float64) - float(lr) * grad.astype(numpy.float64)
        numpy.testing.assert_allclose(data, expected, rtol=0, atol=4 * numpy.finfo(dtype).eps)
        numpy.testing.assert_array_equal(slope, grad)
        guarded.assert_untouched()


def test_squared_errors_of_every_shape(dtype):
    for shape in SHAPES:
        guarded, values, targets = Guarded(), draw(shape, dtype), draw(shape, dtype, seed=1)
        prediction, target, grad = guarded(values), guarded(targets), guarded(numpy.full(shape, 7, dtype))
        difference = (values - targets).astype(numpy.float64)
        expected = pytest.approx((difference**2).sum(), rel=1e-14, abs=0)
        assert kernel("mse_forward_backward")(prediction, target, dtype(0.25), grad) == expected
        assert kernel("mse_forward")(prediction, target) == expected
        numpy.testing.assert_array_equal(grad, (0.25 * difference).astype(dtype))
        guarded.assert_untouched()


def go_along_forbidden_pages(dtype):
    fences = [Fence() for _ in range(3)]
    for at_end in (True, False):
        for size in SIZES:
            x, y, z = (fence.array((size,), dtype, at_end) for fence in fences)
            for name in FORWARD:
                kernel(f"{name}_forward")(x, y)
                kernel(f"{name}_backward")(x, y, z)
            kernel("sgd_step")(x, z, dtype(0.5))
        for shape in SHAPES:
            x, y, z = (fence.array(shape, dtype, at_end) for fence in fences)
            assert kernel("mse_forward")(x, y) == 0
            assert kernel("mse_forward_backward")(x, y, dtype(2), z) == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_nothing_is_read_beside_the_arrays(dtype):
    """A stray read is a segmentation fault."""
    x, rows = numpy.ones(1, dtype), numpy.ones((1, 1), dtype)
    for name in FORWARD:
        kernel(f"{name}_forward")(x, x)
        kernel(f"{name}_backward")(x, x, x)
    kernel("sgd_step")(x, x.copy(), dtype(0.5))
    kernel("mse_forward")(rows, rows)
    kernel("mse_forward_backward")(rows, rows, dtype(2), rows.copy())
    assert_survives(go_along_forbidden_pages, dtype)

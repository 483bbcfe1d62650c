"""The matrix products at every ragged size: values, nothing touched beside the arrays, the same bits wherever they lie.

Shapes: input (n, i), weight (o, i), bias (o,), output (n, o).
"""

from itertools import product

import numpy
import pytest
from helpers import draw
from memory import Fence, Guarded, assert_survives

from fastbp import nn
from fastbp_kernels import linear_backward_input, linear_backward_parameters, linear_forward

SMALL = [1, 2, 3, 4, 5, 7, 8, 9, 11, 15, 16, 17, 25, 31, 32, 33, 65]
LARGE = [(1, 1000, 1), (50, 784, 10), (257, 3, 300), (3, 513, 31), (129, 255, 130), (70, 256, 70), (1025, 257, 2)]
SIZES = [*product(SMALL, repeat=3), *LARGE, (0, 5, 3), (0, 300, 40)]


def assert_product(actual, start, a, b):
    """``start + a @ b`` within the rounding of its ``k + 1`` terms, which grows no faster than the root of ``k``."""
    a, b, start = (array.astype(numpy.float64) for array in (a, b, start))
    size = numpy.abs(start) + numpy.abs(a) @ numpy.abs(b)
    bound = numpy.finfo(actual.dtype).eps * (2 + a.shape[1] ** 0.5) * size
    error = numpy.abs(actual - (start + a @ b))
    assert (error <= bound).all(), f"{(error / bound).max()} of the bound for shapes {a.shape} and {b.shape}"


@pytest.fixture(scope="module")
def numbers():
    """One vector of random numbers for each dtype, from which all arrays are cut."""
    return {dtype: draw(1_000_000, dtype) for dtype in (numpy.float32, numpy.float64)}


def test_forward_at_every_size(numbers, dtype):
    pool = numbers[dtype]
    for n, i, o in SIZES:
        x, weight, bias = pool[: n * i].reshape(n, i), pool[-o * i :].reshape(o, i), pool[1000 : 1000 + o]
        for start in (bias, pool[:0]):
            guarded = Guarded()
            output = guarded(numpy.full((n, o), 7, dtype))
            linear_forward(guarded(x), guarded(weight), guarded(start), output)
            guarded.assert_untouched()
            assert_product(output, start if start.size else numpy.zeros(o, dtype), x, weight.T)


def test_backward_to_the_input_at_every_size(numbers, dtype):
    pool = numbers[dtype]
    for n, i, o in SIZES:
        grad_output, weight = pool[: n * o].reshape(n, o), pool[-o * i :].reshape(o, i)
        guarded = Guarded()
        grad_input = guarded(numpy.full((n, i), 7, dtype))
        linear_backward_input(guarded(grad_output), guarded(weight), grad_input)
        guarded.assert_untouched()
        assert_product(grad_input, numpy.zeros(i, dtype), grad_output, weight)


def test_backward_to_the_parameters_adds_at_every_size(numbers, dtype):
    pool = numbers[dtype]
    for n, i, o in SIZES:
        grad_output, x = pool[: n * o].reshape(n, o), pool[-n * i - 1 : -1].reshape(n, i)
        weight, bias = pool[500 : 500 + o * i].reshape(o, i), pool[1000 : 1000 + o]
        for start in (bias, pool[:0]):
            guarded = Guarded()
            grad_weight, grad_bias = guarded(weight), guarded(start)
            linear_backward_parameters(guarded(grad_output), guarded(x), grad_weight, grad_bias)
            guarded.assert_untouched()
            assert_product(grad_weight, weight, grad_output.T, x)
            if start.size:
                assert_product(grad_bias, start, grad_output.T, numpy.ones(n))


def multiply_beside_forbidden_pages(dtype):
    fences = [Fence() for _ in range(7)]
    for at_end in (True, False):
        for n, i, o in product((1, 2, 5, 11, 16, 21, 33), repeat=3):
            shapes = [(n, i), (o, i), (o,), (n, o), (n, i), (o, i), (o,)]
            arrays = [fence.array(shape, dtype, at_end) for fence, shape in zip(fences, shapes, strict=True)]
            x, weight, bias, output, grad_input, grad_weight, grad_bias = arrays
            linear_forward(x, weight, bias, output)
            linear_backward_input(output, weight, grad_input)
            linear_backward_parameters(output, x, grad_weight, grad_bias)
            assert (output == 1 + i).all()
            assert (grad_input == o * (1 + i)).all()
            assert (grad_weight == 1 + n * (1 + i)).all()
            assert (grad_bias == 1 + n * (1 + i)).all()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_nothing_is_read_beside_the_arrays(dtype):
    """A stray read is a segmentation fault."""
    small = numpy.ones((1, 1), dtype)
    linear_forward(small, small, small[0], small.copy())
    linear_backward_input(small, small, small.copy())
    linear_backward_parameters(small, small, small.copy(), small[0].copy())
    assert_survives(multiply_beside_forbidden_pages, dtype)


@pytest.mark.parametrize("offset", [1, 2, 3, 5, 8, 13])
def test_the_result_does_not_depend_on_the_alignment(offset, dtype):
    layer, x, grad_output = nn.Linear(33, 21, rng=0, dtype=dtype), draw((19, 33), dtype), draw((19, 21), dtype, seed=1)
    expected = layer(x).copy(), layer.backward(grad_output).copy(), layer.weight.grad.copy(), layer.bias.grad.copy()

    def moved(array):
        memory = numpy.empty(array.size + 2 * 64, dtype)
        cache_line = -memory.ctypes.data % 64 // memory.itemsize
        place = memory[cache_line + offset :][: array.size]
        place[...] = array.ravel()
        return place.reshape(array.shape)

    layer.zero_grad()
    again = layer(moved(x)), layer.backward(moved(grad_output)), layer.weight.grad, layer.bias.grad
    for one, two in zip(expected, again, strict=True):
        numpy.testing.assert_array_equal(one, two)


BUILDERS = [lambda dtype: nn.Linear(300, 21, rng=0, dtype=dtype), lambda _: nn.Tanh(), lambda _: nn.Sigmoid()]


@pytest.mark.parametrize("build", BUILDERS)
def test_a_row_gives_the_same_bits_alone_and_in_any_batch(build, dtype):
    module, x = build(dtype), draw((37, 300), dtype)
    whole = module.predict(x)
    for start, stop in [(0, 1), (5, 6), (36, 37), (0, 10), (3, 14), (20, 37)]:
        numpy.testing.assert_array_equal(module.predict(x[start:stop]), whole[start:stop])

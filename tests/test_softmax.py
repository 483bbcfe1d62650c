"""softmax and its logarithm of rows: of any length, alone and among others, with what is not finite."""

import numpy
import pytest
from helpers import draw

from fastbp_kernels import log_softmax_forward, softmax_forward

KERNELS = {"softmax": softmax_forward, "log_softmax": log_softmax_forward}
# Around one vector and a group of four, of 2 to 16 lanes.
LENGTHS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130, 1000)


def compute(name, x):
    y = numpy.full_like(x, 7)
    KERNELS[name](x, y)
    return y


def reference(name, x):
    distance = x.astype("f8") - x.max(axis=1, keepdims=True)
    total = numpy.exp(distance).sum(axis=1, keepdims=True)
    return numpy.exp(distance) / total if name == "softmax" else distance - numpy.log(total)


@pytest.mark.parametrize("name", KERNELS)
def test_rows_of_any_length_are_those_of_the_formula(name, dtype):
    for features in LENGTHS:
        x = draw((19, features), dtype) * dtype(5)
        eps = numpy.finfo(dtype).eps
        numpy.testing.assert_allclose(compute(name, x), reference(name, x), rtol=16 * eps, atol=4 * eps)


@pytest.mark.parametrize("name", KERNELS)
def test_a_row_has_the_same_bits_alone_and_among_others(name, dtype):
    for features in LENGTHS[::3]:
        x = draw((19, features), dtype)
        together = compute(name, x)
        for row in range(19):
            numpy.testing.assert_array_equal(compute(name, x[row : row + 1]), together[row : row + 1])


@pytest.mark.parametrize("name", KERNELS)
def test_the_output_may_be_the_input(name, dtype):
    for features in (5, 16, 100):
        x = draw((11, features), dtype)
        expected = compute(name, x)
        KERNELS[name](x, x)
        numpy.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("features", [5, 16, 100])
def test_minus_infinity_has_no_probability(features, dtype):
    x = draw((9, features), dtype)
    x[:, 2] = -numpy.inf
    y, logarithm = compute("softmax", x), compute("log_softmax", x)
    assert (y[:, 2] == 0).all()
    assert (logarithm[:, 2] == -numpy.inf).all()
    numpy.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
@pytest.mark.parametrize("name", KERNELS)
def test_a_row_with_no_answer_is_nan_and_its_neighbours_are_not(name, value, dtype):
    for features in (5, 16, 100):
        x = draw((9, features), dtype)
        x[4, 3] = value
        y = compute(name, x)
        assert numpy.isnan(y[4]).any()
        assert not numpy.isnan(numpy.delete(y, 4, axis=0)).any()

"""exp, tanh and sigmoid where they have limits and signs to keep; test_accuracy.py measures their errors."""

import numpy
import pytest
from accuracy import FUNCTIONS, compute, critical, neighbours

LIMITS = {"exp": (0.0, 1.0, 1.0, numpy.inf), "tanh": (-1.0, -0.0, 0.0, 1.0), "sigmoid": (0.0, 0.5, 0.5, 1.0)}


@pytest.mark.parametrize("lanes", [1, 16, 17])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_at_zero_infinity_and_nan(name, lanes, dtype):
    """In a whole vector and in the last, masked one."""
    inf, largest = numpy.inf, numpy.finfo(dtype).max
    low, negative_zero, zero, high = LIMITS[name]
    for x, expected in [(-inf, low), (-largest, low), (-0.0, negative_zero), (0.0, zero), (largest, high), (inf, high)]:
        y = compute(name, numpy.full(lanes, x, dtype))
        assert (y == expected).all(), (x, y[0])
        assert (numpy.signbit(y) == numpy.signbit(expected)).all(), (x, y[0])
    for sign in (1, -1):
        assert numpy.isnan(compute(name, numpy.full(lanes, numpy.copysign(numpy.nan, sign), dtype))).all()


def test_tanh_is_odd_and_never_beyond_one(dtype):
    x = neighbours(dtype, critical(dtype), 1000)
    x = x[numpy.isfinite(x)]
    numpy.testing.assert_array_equal(compute("tanh", -x), -compute("tanh", x))
    assert numpy.abs(compute("tanh", x)).max() == 1


def test_tanh_keeps_subnormal_numbers(dtype):
    x = numpy.finfo(dtype).smallest_subnormal * numpy.arange(1, 100, dtype=dtype)
    numpy.testing.assert_array_equal(compute("tanh", x), x)
    numpy.testing.assert_array_equal(compute("tanh", -x), -x)


def test_sigmoid_stays_between_zero_and_one(dtype):
    y = compute("sigmoid", neighbours(dtype, critical(dtype), 1000))
    y = y[~numpy.isnan(y)]
    assert y.min() == 0
    assert y.max() == 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_place_in_a_vector_does_not_change_the_value(name, dtype):
    x = numpy.linspace(-30, 30, 203, dtype=dtype)
    whole = compute(name, x)
    for start in range(17):
        numpy.testing.assert_array_equal(compute(name, x[start : start + 35].copy()), whole[start : start + 35])

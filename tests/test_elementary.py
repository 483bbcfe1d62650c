"""exp, tanh and others where they have limits and signs to keep; test_accuracy.py measures their errors."""

import numpy
import pytest
from accuracy import FUNCTIONS, LOGARITHMS, compute, critical, neighbours, within_domain

LIMITS = {
    "exp": (0.0, 1.0, 1.0, numpy.inf), "tanh": (-1.0, -0.0, 0.0, 1.0), "sigmoid": (0.0, 0.5, 0.5, 1.0),
    "expm1": (-1.0, -0.0, 0.0, numpy.inf),
}  # fmt: skip


@pytest.mark.parametrize("lanes", [1, 16, 17])
@pytest.mark.parametrize("name", LIMITS)
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


@pytest.mark.parametrize("lanes", [1, 16, 17])
@pytest.mark.parametrize("name", LOGARITHMS)
def test_logarithms_at_the_ends_of_their_domain(name, lanes, dtype):
    inf, end = numpy.inf, {"log": 0.0, "log1p": -1.0}[name]
    for x, expected in [(end, -inf), (-0.0, -inf if name == "log" else -0.0), (1 + end, 0.0), (inf, inf)]:
        y = compute(name, numpy.full(lanes, x, dtype))
        assert (y == expected).all(), (x, y[0])
        assert (numpy.signbit(y) == numpy.signbit(expected)).all(), (x, y[0])
    for x in (numpy.nan, -inf, -numpy.finfo(dtype).max, numpy.nextafter(dtype(end), dtype(-inf))):
        assert numpy.isnan(compute(name, numpy.full(lanes, x, dtype))).all(), x


def test_tanh_is_odd_and_never_beyond_one(dtype):
    x = neighbours(dtype, critical(dtype), 1000)
    x = x[numpy.isfinite(x)]
    numpy.testing.assert_array_equal(compute("tanh", -x), -compute("tanh", x))
    assert numpy.abs(compute("tanh", x)).max() == 1


@pytest.mark.parametrize("name", ["tanh", "expm1", "log1p"])
def test_subnormal_numbers_are_kept(name, dtype):
    x = numpy.finfo(dtype).smallest_subnormal * numpy.arange(1, 100, dtype=dtype)
    numpy.testing.assert_array_equal(compute(name, x), x)
    numpy.testing.assert_array_equal(compute(name, -x), -x)


def test_sigmoid_stays_between_zero_and_one(dtype):
    y = compute("sigmoid", neighbours(dtype, critical(dtype), 1000))
    y = y[~numpy.isnan(y)]
    assert y.min() == 0
    assert y.max() == 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_place_in_a_vector_does_not_change_the_value(name, dtype):
    x = within_domain(name, numpy.linspace(-30, 30, 203, dtype=dtype))
    whole = compute(name, x)
    for start in range(17):
        numpy.testing.assert_array_equal(compute(name, x[start : start + 35].copy()), whole[start : start + 35])

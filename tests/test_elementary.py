"""exp, tanh and sigmoid in units in the last place, over every exponent and sign."""

import math

import mpmath
import numpy
import pytest

import fastbp_kernels

FUNCTIONS = ("exp", "tanh", "sigmoid")
INTEGERS = {numpy.float32: numpy.uint32, numpy.float64: numpy.uint64}


def compute(name, x):
    y = numpy.full_like(x, 7)
    getattr(fastbp_kernels, f"{name}_forward")(x, y)
    return y


def neighbours(dtype, values, distance):
    """Every value with its ``distance`` nearest neighbours on both sides, of both signs."""
    centres = numpy.array(values, dtype).view(INTEGERS[dtype]).astype(numpy.int64)
    bits = (centres[:, None] + numpy.arange(-distance, distance + 1)).ravel()
    x = bits[bits >= 0].astype(INTEGERS[dtype]).view(dtype)
    return numpy.concatenate([x, -x])


def critical(dtype):
    """Where the functions change their way: zero, steps of the reduction by ln 2, saturation, overflow, subnormals."""
    info = numpy.finfo(dtype)
    steps = [(n + 0.5) * math.log(2) for n in (0, 1, 2, 3, 22, 23, 24, 51, 52, 53, 125, 126, 127, 128, 148, 149)]
    if dtype is numpy.float64:
        steps += [(n + 0.5) * math.log(2) for n in (1020, 1021, 1022, 1023, 1073, 1074)]
    limits = [0.375, 0.75, 5.0, 8.5, 9.01, 10.0, 16.6, 17.3, 19.06, 20.0, 22.0, 36.7, 37.4, 40.0, 87.33, 88.72, 89.0]
    limits += [103.28, 103.97, 104.0, 708.4, 709.78, 710.0, 744.44, 745.13, 746.0]
    return [0.0, info.smallest_subnormal, info.tiny, info.eps, math.sqrt(info.eps), 1.0, info.max / 2, *steps, *limits]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_is_at_most_2_ulp_off_over_all_bit_patterns(name):
    sweep = numpy.arange(0, 2**32, 997, dtype=numpy.uint64).astype(numpy.uint32).view(numpy.float32)
    x = numpy.concatenate([sweep, neighbours(numpy.float32, critical(numpy.float32), 3000)])
    x = x[numpy.isfinite(x)]
    wide = x.astype(numpy.float64)
    with numpy.errstate(over="ignore", under="ignore"):
        by_name = {"exp": numpy.exp, "tanh": numpy.tanh, "sigmoid": lambda wide: 1 / (1 + numpy.exp(-wide))}
        expected = numpy.minimum(by_name[name](wide), 2.0**128)
    actual = numpy.minimum(compute(name, x).astype(numpy.float64), 2.0**128)  # so infinity is a unit beyond the largest
    exponents = numpy.where(expected == 0, -126, numpy.maximum(numpy.frexp(expected)[1] - 1, -126))
    error = numpy.abs(actual - expected) / numpy.ldexp(1.0, exponents - 23)
    worst = error.argmax()
    assert error[worst] <= 2, f"{name}({float(x[worst])!r}) is {error[worst]} ULP off"
    assert len(x) > 4_000_000


PRECISE = {"exp": mpmath.exp, "tanh": mpmath.tanh, "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x))}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_is_at_most_2_ulp_off(name):
    rng = numpy.random.default_rng(0)
    exponents = numpy.ldexp(rng.uniform(0.5, 1, 2100), numpy.arange(2100) - 1075)
    x = numpy.concatenate(
        [
            exponents[exponents < 2.0**11],
            -exponents[exponents < 2.0**11],
            rng.uniform(-1, 1, 1000),
            rng.uniform(-40, 40, 1000),
            rng.uniform(-750, 715, 1000),
            neighbours(numpy.float64, critical(numpy.float64), 2),
        ]
    )
    x = x[numpy.isfinite(x)]
    y = numpy.minimum(compute(name, x), numpy.finfo(numpy.float64).max)
    with mpmath.workprec(120):
        for value, actual in zip(x.tolist(), y.tolist(), strict=True):
            if name == "exp" and value > 709.7827128933841:
                assert actual == numpy.finfo(numpy.float64).max, f"exp({value!r}) is {actual!r} and not infinite"
                continue
            # Beyond a thousand the limits are reached, and mpmath would be asked for numbers of that many bits.
            expected = PRECISE[name](mpmath.mpf(max(-1000.0, min(value, 1000.0))))
            exponent = mpmath.frexp(expected)[1]
            error = abs(mpmath.mpf(actual) - expected) / mpmath.ldexp(1, max(exponent - 1, -1022) - 52)
            assert error <= 2, f"{name}({value!r}) is {float(error)} ULP off"


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

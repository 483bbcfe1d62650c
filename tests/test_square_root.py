"""The square root of vectors, which is estimated where the CPU has registers of 512 bits."""

import numpy
import pytest
from numba import njit

from fastbp_kernels.compiler.elementwise import elementwise1
from fastbp_kernels.compiler.pointers import pointer

_loop = elementwise1(lambda v, x: v.sqrt(x))


@njit
def _sqrt(x, out):
    _loop(x.size, pointer(x), pointer(out))


def compute(x):
    out = numpy.full_like(x, 7)
    _sqrt(x, out)
    return out


def test_errors_are_below_one_unit_in_the_last_place(dtype):
    exponents = {numpy.float32: (-99, 127), numpy.float64: (-1021, 1023)}[dtype]
    x = numpy.exp2(numpy.random.default_rng(0).uniform(*exponents, 20_000)).astype(dtype)
    exact = numpy.sqrt(x.astype(numpy.longdouble))
    assert (abs(compute(x) - exact) <= numpy.spacing(numpy.sqrt(x))).all()


@pytest.mark.parametrize("lanes", [1, 16, 17])
def test_limits_are_those_of_numpy(lanes, dtype):
    for x in (0.0, 1.0, numpy.inf, -numpy.inf, -1.0, numpy.nan):
        with numpy.errstate(invalid="ignore"):
            expected = numpy.sqrt(dtype(x))
        numpy.testing.assert_array_equal(compute(numpy.full(lanes, x, dtype)), numpy.full(lanes, expected))

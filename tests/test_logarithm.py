"""log and log1p of vectors: at most 2 ULP off, with the limits of the real functions."""

import mpmath
import numpy
import pytest
from helpers import draw
from numba import njit

from fastbp_kernels.compiler.elementwise import elementwise1
from fastbp_kernels.compiler.pointers import pointer
from fastbp_kernels.functions import logarithm

_LOOPS = {"log": elementwise1(logarithm.log), "log1p": elementwise1(logarithm.log1p)}


def _kernel(loop):
    @njit
    def run(x, out):
        loop(x.size, pointer(x), pointer(out))

    return run


_KERNELS = {name: _kernel(loop) for name, loop in _LOOPS.items()}


def compute(name, x):
    out = numpy.empty_like(x)
    _KERNELS[name](x, out)
    return out


def points(name, dtype):
    """Numbers of all sizes, and around those where the functions take another way."""
    info, rng = numpy.finfo(dtype), numpy.random.default_rng(0)
    powers = numpy.exp2(rng.uniform(info.minexp - info.nmant + 1, info.maxexp - 1, 1500))
    near = [1, 2, 0.5, 2**0.5, 0.5**0.5, 2**0.5 - 1, 0.5**0.5 - 1, 1e-3, float(info.smallest_normal), float(info.max)]
    around = numpy.concatenate([dtype(x) * (1 + numpy.arange(-20, 21) * info.eps).astype(dtype) for x in near[:-1]])
    x = numpy.concatenate([powers, numpy.abs(around), [info.max], 1 + draw(500, numpy.float64) * 1e-3])
    if name == "log1p":
        x = numpy.concatenate([x, around[around > -1], -rng.uniform(0, 1, 500), -(2.0 ** -rng.uniform(1, 60, 500))])
    x = x.astype(dtype)
    return x[x > (0 if name == "log" else -1)]


@pytest.mark.parametrize("name", _KERNELS)
def test_errors_are_at_most_two_units_in_the_last_place(name, dtype):
    x, exact = points(name, dtype), {"log": mpmath.log, "log1p": mpmath.log1p}[name]
    y = compute(name, x)
    with mpmath.workprec(200):
        for argument, value in zip(x.tolist(), y):
            expected = exact(mpmath.mpf(argument))
            unit = numpy.spacing(numpy.abs(dtype(float(expected))))
            assert abs(mpmath.mpf(float(value)) - expected) <= 2 * mpmath.mpf(float(unit)), (argument, value)


@pytest.mark.parametrize("lanes", [1, 16, 17])
@pytest.mark.parametrize("name", _KERNELS)
def test_limits_are_those_of_numpy(name, lanes, dtype):
    inf, nan = numpy.inf, numpy.nan
    for x in (0.0, -0.0, 1.0, -1.0, -2.0, inf, -inf, nan, numpy.finfo(dtype).smallest_subnormal):
        with numpy.errstate(all="ignore"):
            expected = getattr(numpy, name)(dtype(x))
        y = compute(name, numpy.full(lanes, x, dtype))
        numpy.testing.assert_allclose(y, numpy.full(lanes, expected), rtol=4 * numpy.finfo(dtype).eps)
        if expected == 0:
            assert (numpy.signbit(y) == numpy.signbit(expected)).all(), x

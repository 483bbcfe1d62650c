"""GELU where little of it is left."""

import mpmath
import numpy

from fastbp_kernels import gelu_forward
from fastbp_kernels.compiler.vectors import host_has


def test_gelu_keeps_its_digits_far_below_zero(dtype):
    """PyTorch's, a difference from 1, has none from -6 on; here errors are those of some roundings."""
    x = -numpy.linspace(0.5, {numpy.float32: 13, numpy.float64: 37}[dtype], 300).astype(dtype)
    y = numpy.empty_like(x)
    gelu_forward(x, y)
    with mpmath.workprec(120):
        expected = numpy.array([float(mpmath.mpf(number) * mpmath.ncdf(mpmath.mpf(number))) for number in x.tolist()])
    errors = abs(y.astype("f8") - expected) / numpy.spacing(abs(expected).astype(dtype))
    lost = 0 if host_has("fma") else x.astype("f8") ** 2 / 2  # of the square's rounding, which is not known without
    assert (errors <= 16 + lost).all(), (errors.max(), x[errors.argmax()])

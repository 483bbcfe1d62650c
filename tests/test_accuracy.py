"""The figures of accuracy.py: 2 ULP at most for the functions, products that err no more than torch in the mean."""

from statistics import fmean

import mpmath
import numpy
import pytest
from accuracy import (
    FUNCTIONS,
    PRODUCTS,
    float32_inputs,
    float32_references,
    precise_references,
    product_errors,
    ulp_error,
)

from fastbp_kernels.compiler.vectors import host_has


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_at_most_2_ulp_off(name, dtype):
    error = ulp_error(name, dtype)
    assert error.ours <= 2, error
    assert error.inputs >= {"float32": 900_000, "float64": 4_000}[error.dtype]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_references_of_float32_are_as_good_as_mpmath(name):
    x = numpy.random.default_rng(0).choice(float32_inputs(), 1000)
    x = x[abs(x) < 700]
    with mpmath.workprec(120):
        for actual, exact in zip(float32_references(name, x).tolist(), precise_references(name, x), strict=True):
            assert abs(mpmath.mpf(actual) - exact) <= 1e-8 * 2.0**-23 * abs(exact) + 2.0**-1074


@pytest.fixture(scope="module")
def products():
    return product_errors()


@pytest.mark.parametrize("product", PRODUCTS)
def test_errors_of_products_are_not_larger_than_those_of_torch_in_the_mean(product, products, dtype):
    figures = [e for e in products if e.product == product and e.dtype == numpy.dtype(dtype).name]
    ours, theirs = fmean(e.ours_mean for e in figures), fmean(e.torch_mean for e in figures)
    # PyTorch looks for itself whether the CPU has fused multiply-add; a product without errs a little more.
    assert ours <= theirs * (1.0 if host_has("fma") else 1.05), f"{ours:.3f} eps, torch {theirs:.3f} eps"

"""How accurate fastbp and torch are, in figures: what test_accuracy.py asserts and docs/equivalence.md shows."""

import math
from typing import NamedTuple

import mpmath
import numpy
import oracles
import torch
from helpers import DTYPES, draw, leaf, tensor
from length import WHOLE
from numba import njit

import fastbp_kernels
from fastbp_kernels import linear_backward, linear_forward
from fastbp_kernels.compiler.elementwise import elementwise1
from fastbp_kernels.compiler.pointers import pointer
from fastbp_kernels.functions import elementary, logarithm

# (n, i, o): layers of the original task and of the benchmarks, and ragged ones.
SHAPES = (
    (50, 2, 25), (50, 25, 25), (50, 25, 2), (64, 64, 64), (128, 784, 128), (256, 512, 512), (33, 17, 31), (7, 129, 65),
    (101, 257, 33), (300, 31, 10),
)  # fmt: skip
PRODUCTS = ("output", "grad_input", "grad_weight", "grad_bias")
SAMPLE = {numpy.float32: 128, numpy.float64: 12}  # rows and columns of a product whose errors are measured
SEEDS = 6 if WHOLE else 2
STRIDE = 997 if WHOLE else 9973  # from one bit pattern of float32 to the next

# Three with public kernels, which have reached their limits at 1000, as expm1 has; and the logarithms.
FUNCTIONS = ("exp", "tanh", "sigmoid", "expm1", "log", "log1p")
LOGARITHMS = ("log", "log1p")
PRECISE = {
    "exp": mpmath.exp, "tanh": mpmath.tanh, "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "expm1": mpmath.expm1,
    "log": mpmath.log, "log1p": mpmath.log1p,
}  # fmt: skip
DOUBLE = {
    "exp": numpy.exp, "tanh": numpy.tanh, "sigmoid": lambda x: 1 / (1 + numpy.exp(-x)), "expm1": numpy.expm1,
    "log": numpy.log, "log1p": numpy.log1p,
}  # fmt: skip
INTEGERS = {numpy.float32: numpy.uint32, numpy.float64: numpy.uint64}


class UlpError(NamedTuple):
    """The largest errors of a function over ``inputs`` inputs, in units in the last place of the exact result."""

    function: str
    dtype: str
    inputs: int
    ours: float
    ours_at: float  # the input at which it is largest
    torch: float
    torch_at: float


class ProductError(NamedTuple):
    """Errors of a product of normal numbers, in eps times the root mean square of the exact result."""

    product: str
    shape: tuple[int, int, int]
    dtype: str
    ours_mean: float
    torch_mean: float
    ours_max: float
    torch_max: float


def _kernel(function):
    loop = elementwise1(function)

    @njit
    def forward(input, output):
        loop(output.size, pointer(input), pointer(output))

    return forward


_KERNELS = {
    "expm1": _kernel(elementary.expm1), "log": _kernel(logarithm.log), "log1p": _kernel(logarithm.log1p)
}  # fmt: skip


def compute(name, x):
    y = numpy.full_like(x, 7)
    kernel = _KERNELS.get(name) or getattr(fastbp_kernels, f"{name}_forward")
    kernel(x, y)
    return y


def within_domain(name, x):
    """``x``, with other numbers in place of those of which there is no logarithm."""
    if name in LOGARITHMS:
        least = {"log": 0, "log1p": -1}[name]
        x = numpy.where(x > least, x, -x)
        x[x == least] = 1
    return x


def neighbours(dtype, values, distance):
    """Every value with its ``distance`` nearest neighbours on both sides, of both signs."""
    centres = numpy.array(values, dtype).view(INTEGERS[dtype]).astype(numpy.int64)
    bits = (centres[:, None] + numpy.arange(-distance, distance + 1)).ravel()
    x = bits[bits >= 0].astype(INTEGERS[dtype]).view(dtype)
    return numpy.concatenate([x, -x])


def critical(dtype):
    """Where the functions change their way: zero, steps of the reduction by ln 2, saturation, overflow, subnormals."""
    info = numpy.finfo(dtype)
    powers = [math.sqrt(0.5), math.sqrt(2), math.sqrt(2) - 1, 1 - math.sqrt(0.5)]  # where logarithms take another one
    steps = [(n + 0.5) * math.log(2) for n in (0, 1, 2, 3, 22, 23, 24, 51, 52, 53, 125, 126, 127, 128, 148, 149)]
    if dtype is numpy.float64:
        steps += [(n + 0.5) * math.log(2) for n in (1020, 1021, 1022, 1023, 1073, 1074)]
    limits = [0.375, 0.75, 5.0, 8.5, 9.01, 10.0, 16.6, 17.3, 19.06, 20.0, 22.0, 36.7, 37.4, 40.0, 87.33, 88.72, 89.0]
    limits += [103.28, 103.97, 104.0, 708.4, 709.78, 710.0, 744.44, 745.13, 746.0]
    return [
        0.0,
        info.smallest_subnormal,
        info.tiny,
        info.eps,
        math.sqrt(info.eps),
        1.0,
        info.max / 2,
        *powers,
        *steps,
        *limits,
    ]


def float32_inputs():
    """Every so many-th bit pattern that is finite, and the neighbours of the critical places."""
    sweep = numpy.arange(0, 2**32, STRIDE, dtype=numpy.uint64).astype(numpy.uint32).view(numpy.float32)
    x = numpy.concatenate([sweep, neighbours(numpy.float32, critical(numpy.float32), 3000)])
    return x[numpy.isfinite(x)]


def float64_inputs():
    """All magnitudes from the smallest to those at which the functions have reached their limits."""
    rng = numpy.random.default_rng(0)
    exponents = numpy.arange(-1074, 12).repeat(7 if WHOLE else 1)
    everywhere = numpy.ldexp(rng.uniform(0.5, 1, exponents.size), exponents)
    ranges = [rng.uniform(-limit, limit, 1500 if WHOLE else 500) for limit in (1, 40, 750)]
    return numpy.concatenate([everywhere, -everywhere, *ranges, neighbours(numpy.float64, critical(numpy.float64), 2)])


def float32_references(name, x):
    """The function in float64: its own error is below 1e-8 units of float32, as the test assures."""
    x = within_domain(name, x)
    with numpy.errstate(over="ignore", under="ignore"):
        return DOUBLE[name](x.astype(numpy.float64))


def precise_references(name, x):
    """The function of each number of ``x`` in 120 bits, by mpmath."""
    with mpmath.workprec(120):
        if name in LOGARITHMS:
            return [PRECISE[name](mpmath.mpf(value)) for value in within_domain(name, x).tolist()]
        # Beyond a thousand the limits are reached, and mpmath would be asked for numbers of that many bits.
        return [PRECISE[name](mpmath.mpf(max(-1000.0, min(value, 1000.0)))) for value in x.tolist()]


def float32_distances(actual, exact):
    """The errors in units in the last place of ``exact``; infinity counts as a unit beyond the largest number."""
    top = 2.0**128
    actual, exact = numpy.minimum(actual.astype(numpy.float64), top), numpy.minimum(exact, top)
    exponents = numpy.where(exact == 0, -126, numpy.maximum(numpy.frexp(exact)[1] - 1, -126))
    return numpy.abs(actual - exact) / numpy.ldexp(1.0, exponents - 23)


def float64_distances(actual, exact):
    """The same of float64 for ``exact`` from mpmath."""
    errors = []
    with mpmath.workprec(120):
        top = mpmath.ldexp(1, 1024)
        for value, reference in zip(actual.tolist(), exact, strict=True):
            exponent = max(mpmath.frexp(min(reference, top))[1] - 1, -1022)
            error = abs(min(mpmath.mpf(value), top) - min(reference, top))
            errors.append(float(error / mpmath.ldexp(1, exponent - 52)))
    return numpy.array(errors)


def ulp_error(name, dtype):
    """The figures of one function; both libraries get the same inputs."""
    if dtype is numpy.float32:
        x, distances = float32_inputs(), float32_distances
        exact = float32_references(name, x)
    else:
        x, distances = float64_inputs(), float64_distances
        exact = precise_references(name, x)
    x = within_domain(name, x)
    ours = distances(compute(name, x), exact)
    theirs = distances(getattr(torch, name)(tensor(x)).numpy(), exact)
    worst = [(float(errors.max()), float(x[errors.argmax()])) for errors in (ours, theirs)]
    return UlpError(name, numpy.dtype(dtype).name, x.size, *worst[0], *worst[1])


def ulp_errors():
    """The largest errors of all functions in both dtypes."""
    return [ulp_error(name, dtype) for dtype in DTYPES for name in FUNCTIONS]


def products(shape, dtype, seed):
    """The four products of a layer, each as ``(start, a, b)``, what fastbp makes of it and what torch makes of it."""
    n, i, o = shape
    sizes = ((n, i), (o, i), (o,), (n, o))
    x, weight, bias, grad_output = (draw(size, dtype, 4 * seed + k) for k, size in enumerate(sizes))
    output, grad_input = numpy.empty((n, o), dtype), numpy.empty((n, i), dtype)
    grad_weight, grad_bias = numpy.zeros((o, i), dtype), numpy.zeros(o, dtype)
    linear_forward(x, weight, bias, output)
    linear_backward(grad_output, x, weight, grad_weight, grad_bias, grad_input)
    leaves = leaf(x), leaf(weight), leaf(bias)
    expected = torch.nn.functional.linear(*leaves)
    expected.backward(tensor(grad_output))
    terms = [
        (bias[None], x, weight.T),
        (numpy.zeros((1, i), dtype), grad_output, weight),
        (numpy.zeros((1, i), dtype), grad_output.T, x),
        (numpy.zeros((1, o), dtype), numpy.ones((1, n), dtype), grad_output),
    ]
    ours = output, grad_input, grad_weight, grad_bias[None]
    theirs = expected.detach(), leaves[0].grad, leaves[1].grad, leaves[2].grad[None]
    return zip(terms, ours, (array.numpy() for array in theirs), strict=True)


def exact_at(rows, columns, terms):
    """The numbers of ``start + a @ b`` there: in float64 for float32, else rounded to float64 once."""
    start, a, b = terms[0][:, columns], terms[1][rows], terms[2][:, columns]
    if a.dtype == numpy.float32:
        start, a, b = (array.astype(numpy.float64) for array in (start, a, b))
        return start + a @ b
    return oracles.exact_product(start, a, b)[0]


def sampled_errors(terms, results, rng):
    """The errors of ``results`` at some rows and columns, in eps times the root mean square of the exact numbers."""
    _, a, b = terms
    sample = SAMPLE[a.dtype.type]
    rows, columns = (numpy.sort(rng.permutation(size)[:sample]) for size in (len(a), b.shape[1]))
    exact = exact_at(rows, columns, terms)
    unit = numpy.finfo(a.dtype).eps * numpy.sqrt((exact**2).mean())
    return [abs(result[numpy.ix_(rows, columns)] - exact) / unit for result in results]


def product_errors():
    """Mean and largest errors of every product of every layer in both dtypes, over ``SEEDS`` draws."""
    rng, figures = numpy.random.default_rng(0), []
    for dtype in DTYPES:
        for shape in SHAPES:
            drawn = [products(shape, dtype, seed) for seed in range(SEEDS)]
            for product, draws in zip(PRODUCTS, zip(*drawn, strict=True), strict=True):
                pairs = [sampled_errors(terms, results, rng) for terms, *results in draws]
                ours, theirs = (numpy.concatenate(errors) for errors in zip(*pairs, strict=True))
                statistics = (ours.mean(), theirs.mean(), ours.max(), theirs.max())
                figures.append(ProductError(product, shape, numpy.dtype(dtype).name, *map(float, statistics)))
    return figures

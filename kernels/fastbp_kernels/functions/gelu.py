"""The Gaussian error linear unit, exact and in its tanh form, each with its derivative.

``gelu(x) = x * Phi(x)`` with Phi the normal distribution function (Hendrycks and Gimpel, "Gaussian Error Linear Units",
2016). Phi rests on erfc, and that on one series for all z of 0 or more (the form is that of Schonfelder, "Chebyshev
Expansions for the Error and Related Functions", 1978)::

    erfc(z) = exp(-z**2) * t * (sum of c[n] * T_n(2 t - 1)),   t = 2 / (2 + z)
"""

from __future__ import annotations

from math import pi, sqrt

from llvmlite import ir
from numpy.polynomial.chebyshev import cheb2poly

from fastbp_kernels.compiler.vectors import Vectors
from fastbp_kernels.functions.elementary import at_most, exp, tanh

# Coefficients of erfc(z) * exp(z**2) / t, computed with 50 digits.
_CHEBYSHEV = (
    0.5770337386164696886, 0.35543692127049848736, 0.065095158828786524501, 0.0036711423958366392149,
    -0.0011128447433526325458, -0.00016075829915378074882, 3.2780315741731321995e-05, 5.442441645505064466e-06,
    -1.5154665553171963917e-06, -1.4297608181165064984e-07, 8.2346088274147191756e-08, -1.2962846851831969335e-09,
    -4.1547216310623480274e-09, 6.3470582788309507349e-10, 1.4320822707611003419e-10, -6.1603901005981188804e-11,
    2.0612138098206079362e-12, 3.5714931940608218939e-12, -8.5864232907475691831e-13, -6.145595787670782004e-14,
    7.4187213737713963246e-14, -1.2894999544009137034e-14, -2.3587690355202940547e-15, 1.5729770030917647783e-15,
    -2.2787111908387758979e-16, -6.3082479064534841504e-17, 3.5876591994367984812e-17,
)  # fmt: skip
_TERMS = {4: 11, 8: len(_CHEBYSHEV)}  # the first missing one is below an eighth of a unit in the last place
_POLYNOMIAL = {size: cheb2poly(_CHEBYSHEV[:terms]).tolist() for size, terms in _TERMS.items()}
_LIMIT = {4: 10.5, 8: 27.5}  # beyond this z, erfc is 0

_TANH_SCALE, _TANH_CUBE = sqrt(2 / pi), 0.044715  # as PyTorch has them


def gelu(v: Vectors, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return x * Phi(x) and Phi(x) + x * phi(x)."""
    distribution, density = _normal(v, x)
    return v.builder.fmul(x, distribution), v.fma(x, density, distribution)


def gelu_tanh(v: Vectors, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x**3))) and its derivative."""
    b, one, half = v.builder, v.constant(1.0), v.constant(0.5)
    t = _tanh_of_cubic(v, x)
    inner = v.fma(b.fmul(x, x), v.constant(3 * _TANH_SCALE * _TANH_CUBE), v.constant(_TANH_SCALE))
    slope = b.fmul(b.fmul(x, inner), b.fsub(one, b.fmul(t, t)))
    return b.fmul(b.fmul(x, half), b.fadd(one, t)), b.fmul(half, b.fadd(b.fadd(one, t), slope))


def _tanh_of_cubic(v: Vectors, x: ir.Value) -> ir.Value:
    cube = v.builder.fmul(v.builder.fmul(x, x), x)
    return tanh(v, v.builder.fmul(v.constant(_TANH_SCALE), v.fma(v.constant(_TANH_CUBE), cube, x)))


def _normal(v: Vectors, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return the normal distribution function and its density."""
    b = v.builder
    z = at_most(v, b.fmul(v.absolute(x), v.constant(sqrt(0.5))), _LIMIT[v.bytes])
    square = b.fmul(z, z)
    lost = v.fma(z, z, b.fneg(square))  # of its rounding, which exp would magnify
    power = exp(v, b.fneg(square))
    power = b.fsub(power, b.fmul(power, lost))
    t = v.divide(v.constant(2.0), b.fadd(v.constant(2.0), z))
    tail = b.fmul(v.constant(0.5), b.fmul(power, b.fmul(t, _series(v, t))))
    negative = b.fcmp_ordered("<", x, v.constant(0.0))
    distribution = b.select(negative, tail, b.fsub(v.constant(1.0), tail))
    return distribution, b.fmul(power, v.constant(sqrt(0.5 / pi)))


def _series(v: Vectors, t: ir.Value) -> ir.Value:
    """Return the sum of Chebyshev's polynomials at 2 t - 1, as one polynomial of that."""
    y = v.fma(t, v.constant(2.0), v.constant(-1.0))
    *lower, total = map(v.constant, _POLYNOMIAL[v.bytes])
    for coefficient in reversed(lower):
        total = v.fma(total, y, coefficient)
    return total

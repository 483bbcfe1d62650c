"""The Gaussian error linear unit, exact and in its tanh form, each with its derivative.

``gelu(x) = x * Phi(x)`` with Phi the normal distribution function (Hendrycks and Gimpel, "Gaussian Error Linear Units",
2016). Beyond m = |x| lies the share ``Phi(-m) = exp(-m**2 / 2) * N(m) / D(m)``, where the quotient of two polynomials
is near to Mills' ratio / sqrt(2 pi) for all m (as in Cody, "Rational Chebyshev Approximations for the Error Function",
1969). All of their coefficients are positive, so that nothing cancels out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

from llvmlite import ir

from fastbp_kernels.compiler.vectors import Vectors
from fastbp_kernels.functions.elementary import at_most, exp_of_fraction, polynomial, reduce, tanh, times_power


@dataclass(frozen=True)
class _Tail:
    """Phi(-m) up to m = ``limit``, beyond which it is 0."""

    limit: float
    # With the least largest error as a share of Phi(-m), found in 60 digits by Loeb's and Lawson's algorithms: an 18th
    # and a 200th of a unit in the last place.
    numerator: tuple[float, ...]
    divisor: tuple[float, ...]


TAILS = {
    4: _Tail(
        14.9,
        (
            0.50000000291164979, 0.43898342871278285, 0.18373983043363853, 0.040801793259735127,
            0.0041408707464166,
        ),
        (
            1.0, 1.6758518393901753, 1.2046111182302317, 0.47080159515074541, 0.10228111742869650,
            0.010379510382493741,
        ),
    ),
    8: _Tail(
        39.0,
        (
            0.5000000000000000004, 0.82798601320702935581, 0.67970458403857853332, 0.35741859504579488474,
            0.13208228157121380338, 0.035680043657983286231, 0.0071258393876175727231, 0.0010402271558678400823,
            0.00010663366370068317656, 6.9805509459368439181e-06, 2.2435105040199830202e-07,
        ),
        (
            1.0, 2.4538565872169242658, 2.8173034534419432159, 2.0017533453487813259, 0.9803123536648066558,
            0.34841404658315818959, 0.092009074072563591781, 0.01812799670757659184, 0.0026249604475141300542,
            0.00026785332114285965475, 1.7497646373617120082e-05, 5.6236468638068616703e-07,
        ),
    ),
}  # fmt: skip

_TANH_SCALE, _TANH_CUBE = sqrt(2 / pi), 0.044715  # as PyTorch has them


def gelu(v: Vectors, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return x * Phi(x) and Phi(x) + x * phi(x)."""
    b, tail = v.builder, TAILS[v.bytes]
    magnitude = at_most(v, v.absolute(x), tail.limit)
    power = _exp_of_square(v, magnitude)
    numerator = b.fmul(power, polynomial(v, magnitude, tail.numerator))
    beyond = b.fdiv(numerator, polynomial(v, magnitude, tail.divisor))
    negative = b.fcmp_ordered("<", x, v.constant(0.0))
    distribution = b.select(negative, beyond, b.fsub(v.constant(1.0), beyond))
    density = b.fmul(power, v.constant(sqrt(0.5 / pi)))
    return b.fmul(x, distribution), v.fma(x, density, distribution)


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


def _exp_of_square(v: Vectors, m: ir.Value) -> ir.Value:
    """Return exp(-m**2 / 2) for m of no more than a tail's limit."""
    b = v.builder
    square = b.fmul(m, m)
    lost = v.fma(m, m, b.fneg(square))  # of its rounding, which the exponential would magnify
    n, r = reduce(v, b.fmul(square, v.constant(-0.5)))
    return times_power(v, exp_of_fraction(v, v.fma(lost, v.constant(-0.5), r)), n)

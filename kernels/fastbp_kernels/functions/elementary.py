"""exp, expm1, tanh and the logistic sigmoid of vectors, float32 and float64, at most 2 ULP off.

All of them rest on ``exp(x) = 2**n * exp(r)`` with n the integer nearest to x / ln 2, so that r lies within ln 2 / 2 of
0, where a short polynomial is near to ``exp(r)`` (Cody and Waite, "Software manual for the elementary functions",
1980). There are no branches: infinities are moved to where the result has long reached its limit, and NaN comes through
every step as NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import e, log2

from llvmlite import ir

from fastbp_kernels.compiler.vectors import Vectors
from fastbp_kernels.functions import tanh_table


@dataclass(frozen=True)
class Format:
    """What the functions need to know of a float format."""

    mantissa_bits: int
    exponent_bias: int
    ln2_high: float  # ln 2 = ln2_high + ln2_low; ln2_high ends in zeros, so that n * ln2_high is exact
    ln2_low: float
    # Coefficients from r**2 on of polynomials 1 + r + ... for exp(r), with |r| up to ln 2 / 2 and up to NEAR_ZERO, with
    # the least largest error (found by Remez's algorithm in 60 digits): a 25th of a unit in the last place.
    series: tuple[float, ...]
    series_near_zero: tuple[float, ...]
    # Beyond these the results are 0, -1, infinite or 1 (of sigmoid 0 or 1).
    exp_range: tuple[float, float]
    expm1_range: tuple[float, float]
    tanh_limit: float


FORMATS = {
    4: Format(
        23, 127, 0.693145751953125, 1.428606820309417e-06,
        (
            0.49999993434036817, 0.16666520398913916, 0.041668390148948155, 0.0083687451871329520,
            0.0013814580411246919,
        ),
        (
            0.49999999872041958, 0.16666675762572008, 0.041666696532882792, 0.0083323532618733237,
            0.0013887131029115736, 0.00020141129051997730, 2.5182565756445931e-05,
        ),
        (-104.0, 89.0), (-20.0, 89.0), tanh_table.LIMIT,
    ),
    8: Format(
        52, 1023, 0.6931471803691238, 1.9082149292705877e-10,
        (
            0.50000000000000102143, 0.16666666666666674522, 0.041666666666522106369, 0.0083333333333222161876,
            0.0013888888947785558214, 0.00019841269886563828865, 2.4801487365985668838e-05, 2.755724236741889309e-06,
            2.7632640690513380329e-07, 2.5110038308325792832e-08,
        ),
        (
            0.50000000000000000102, 0.16666666666666646448, 0.041666666666666594597, 0.0083333333333403204434,
            0.0013888888888902257918, 0.00019841269833231162255, 2.4801587290887128282e-05, 2.7557323475275553867e-06,
            2.7557323598614561514e-07, 2.5050972057381206852e-08, 2.0875799041147457986e-09,
            1.6208340964569575699e-10, 1.1577735741910390136e-11,
        ),
        (-746.0, 710.0), (-40.0, 710.0), 22.0,
    ),
}  # fmt: skip

NEAR_ZERO = 0.75
_LONG = 10  # coefficients; of those that float32 needs, two polynomials take as long as one


def exp(v: Vectors, x: ir.Value) -> ir.Value:
    """Return e**x."""
    return exp_of_less(v, at_most(v, x, FORMATS[v.bytes].exp_range[1]))


def exp_of_less(v: Vectors, x: ir.Value) -> ir.Value:
    """Return e**x for x of no more than the upper end of ``exp_range``."""
    n, r = reduce(v, at_least(v, x, FORMATS[v.bytes].exp_range[0]))
    return times_power(v, exp_of_fraction(v, r), n)


def expm1(v: Vectors, x: ir.Value) -> ir.Value:
    """Return e**x - 1, near 0 as the series alone, else as twice 2**(n - 1) * (1 + fraction) - 1/2."""
    builder, form = v.builder, FORMATS[v.bytes]
    least, most = form.expm1_range
    near_zero = builder.fcmp_ordered("<", v.absolute(x), v.constant(NEAR_ZERO))
    n, r = reduce(v, at_least(v, at_most(v, x, most), least), keep=near_zero)
    fraction = builder.fadd(r, _tail(v, r))
    power = _power_of_two(v, builder.sub(_as_integers(v, n), v.integers(1)))
    half = v.fma(power, fraction, builder.fsub(power, v.constant(0.5)))
    return v.copysign(builder.select(near_zero, fraction, builder.fadd(half, half)), x)  # -0 of -0


def tanh(v: Vectors, x: ir.Value) -> ir.Value:
    """Return tanh(x) from a table where one fits, else as t / (t + 2) with t = exp(2 |x|) - 1, and the sign of x.

    Near 0 the same quotient is |x| + (t - 2 |x| - |x| t) / (t + 2): the second part is small, and so are its errors.
    """
    builder, form = v.builder, FORMATS[v.bytes]
    magnitude = at_most(v, v.absolute(x), form.tanh_limit)
    if tanh_table.fits(v):
        return tanh_table.tanh(v, x, magnitude)
    double = builder.fadd(magnitude, magnitude)
    near_zero = builder.fcmp_ordered("<", double, v.constant(NEAR_ZERO))
    n, r = reduce(v, double, keep=near_zero)
    tail = _tail(v, r)
    power = _power_of_two(v, _as_integers(v, n))
    t = v.fma(power, builder.fadd(r, tail), builder.fsub(power, v.constant(1.0)))
    numerator = builder.select(near_zero, builder.fsub(tail, builder.fmul(magnitude, t)), t)
    quotient = builder.fdiv(numerator, builder.fadd(t, v.constant(2.0)))
    return v.copysign(builder.fadd(quotient, builder.select(near_zero, magnitude, v.constant(0.0))), x)


def sigmoid(v: Vectors, x: ir.Value) -> ir.Value:
    """Return q = 1 / (1 + e) with e = exp(-|x|), or where x is below 0 1 - q as e - e * (e * q).

    The latter leaves a share e of the errors of q. The former rounds 1 + e as PyTorch and scikit-learn do: near 1,
    where a loss may take the logarithm of 1 - q, a probability is then one of theirs.
    """
    builder, one = v.builder, v.constant(1.0)
    e = exp_of_less(v, builder.fneg(v.absolute(x)))
    divisor = builder.fadd(one, e)
    estimate = v.estimated_reciprocal(divisor)
    q = v.fma(v.fma(builder.fneg(divisor), estimate, one), estimate, estimate)
    rest = v.fma(builder.fneg(e), builder.fmul(e, q), e)
    return builder.select(builder.fcmp_ordered("<", x, v.constant(0.0)), rest, q)


def at_most(v: Vectors, x: ir.Value, limit: float) -> ir.Value:
    """Return min(x, limit), or NaN for NaN."""
    return v.builder.select(v.builder.fcmp_ordered(">", x, v.constant(limit)), v.constant(limit), x)


def at_least(v: Vectors, x: ir.Value, limit: float) -> ir.Value:
    """Return max(x, limit), or NaN for NaN."""
    return v.builder.select(v.builder.fcmp_ordered("<", x, v.constant(limit)), v.constant(limit), x)


def reduce(v: Vectors, x: ir.Value, keep: ir.Value | None = None) -> tuple[ir.Value, ir.Value]:
    """Return the whole number n and r, where x = n ln 2 + r; n is 0 and r is x in the lanes to ``keep``."""
    builder, form = v.builder, FORMATS[v.bytes]
    reduced = x if keep is None else builder.select(keep, v.constant(0.0), x)
    # Adding 1.5 * 2**mantissa_bits rounds to a whole number.
    magic = v.constant(1.5 * 2.0**form.mantissa_bits)
    shifted = v.fma(reduced, v.constant(log2(e)), magic)
    n = builder.fsub(shifted, magic)
    r = v.fma(n, v.constant(-form.ln2_high), x)
    return n, v.fma(n, v.constant(-form.ln2_low), r)


def exp_of_fraction(v: Vectors, r: ir.Value) -> ir.Value:
    """Return exp(r) for |r| up to ln 2 / 2."""
    one = v.constant(1.0)
    return v.fma(v.fma(polynomial(v, r, FORMATS[v.bytes].series), r, one), r, one)


def times_power(v: Vectors, x: ir.Value, n: ir.Value) -> ir.Value:
    """Return x * 2**n for whole numbers n, also where the power alone would overflow or lose a subnormal result."""
    if v.is_512_bit:
        return v.scale(x, n)
    builder, n = v.builder, _as_integers(v, n)
    half = builder.ashr(n, v.integers(1))
    return builder.fmul(builder.fmul(x, _power_of_two(v, half)), _power_of_two(v, builder.sub(n, half)))


def polynomial(v: Vectors, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
    """Return the polynomial with these coefficients, the lowest first, by Horner's rule.

    A long one is made of two polynomials of x**2, neither of which waits for the other.
    """
    if len(coefficients) >= _LONG:
        square = v.builder.fmul(x, x)
        even, odd = (polynomial(v, square, coefficients[start::2]) for start in (0, 1))
        return v.fma(odd, x, even)
    *lower, total = map(v.constant, coefficients)
    for coefficient in reversed(lower):
        total = v.fma(total, x, coefficient)
    return total


def _as_integers(v: Vectors, n: ir.Value) -> ir.Value:
    """Return small whole numbers as integers: they are the low bits of their sum with 1.5 * 2**mantissa_bits."""
    builder = v.builder
    magic = v.constant(1.5 * 2.0 ** FORMATS[v.bytes].mantissa_bits)
    return builder.sub(builder.bitcast(builder.fadd(n, magic), v.int_type), builder.bitcast(magic, v.int_type))


def _tail(v: Vectors, r: ir.Value) -> ir.Value:
    """Return exp(r) - 1 - r for |r| up to NEAR_ZERO."""
    return v.builder.fmul(v.builder.fmul(r, r), polynomial(v, r, FORMATS[v.bytes].series_near_zero))


def _power_of_two(v: Vectors, n: ir.Value) -> ir.Value:
    """Return 2**n for integers n within the normal exponents."""
    form = FORMATS[v.bytes]
    bits = v.builder.shl(v.builder.add(n, v.integers(form.exponent_bias)), v.integers(form.mantissa_bits))
    return v.builder.bitcast(bits, v.type)

"""log and log1p of vectors, float32 and float64, at most 2 ULP off.

Both take ``2**k * (1 + f)`` apart, with ``1 + f`` from sqrt(1/2) to sqrt(2), and sum the series of
``log(1 + f) = 2 artanh(s)`` for ``s = f / (2 + f)`` in the order of fdlibm's ``e_log.c``, where what is small is added
first.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan, sqrt

from llvmlite import ir

from fastbp_kernels.compiler.vectors import Vectors


@dataclass(frozen=True)
class _Format:
    """What the functions need to know of a float format."""

    mantissa_bits: int
    exponent_bias: int
    ln2_high: float  # ln 2 = ln2_high + ln2_low; ln2_high ends in zeros, so that k * ln2_high is exact
    ln2_low: float
    terms: int  # of the series; the next is below an eighth of a unit in the last place
    least_normal: float


_FORMATS = {
    4: _Format(23, 127, 0.693145751953125, 1.428606820309417e-06, 5, 2.0**-126),
    8: _Format(52, 1023, 0.6931471803691238, 1.9082149292705877e-10, 11, 2.0**-1022),
}


def log(v: Vectors, x: ir.Value) -> ir.Value:
    """Return the natural logarithm: -infinity of 0, NaN of less."""
    builder = v.builder
    k, f = _take_apart(v, x)
    return _limits(v, x, _sum(v, k, f, v.constant(0.0)), least=0.0, factor=builder.fadd(x, x))


def log1p(v: Vectors, x: ir.Value) -> ir.Value:
    """Return log(1 + x), exact where 1 + x is not: -infinity of -1, NaN of less."""
    builder, one = v.builder, v.constant(1.0)
    rounded = builder.fadd(one, x)
    k, f = _take_apart(v, rounded)
    is_large = builder.fcmp_ordered(">", x, one)
    lost = builder.select(
        is_large, builder.fsub(one, builder.fsub(rounded, x)), builder.fsub(x, builder.fsub(rounded, one))
    )
    is_near_zero = builder.fcmp_ordered("==", k, v.constant(0.0))
    f = builder.select(is_near_zero, x, f)
    lost = builder.select(is_near_zero, v.constant(0.0), builder.fdiv(lost, rounded))
    value = _limits(v, x, _sum(v, k, f, lost), least=-1.0, factor=x)
    return builder.select(builder.fcmp_ordered("==", x, v.constant(0.0)), x, value)  # -0 stays -0


def _take_apart(v: Vectors, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return the float k and f, where x = 2**k * (1 + f) is positive and finite."""
    builder, form = v.builder, _FORMATS[v.bytes]
    is_subnormal = builder.fcmp_ordered("<", x, v.constant(form.least_normal))
    up = form.mantissa_bits + 1
    scaled = builder.select(is_subnormal, builder.fmul(x, v.constant(2.0**up)), x)
    bits = builder.bitcast(scaled, v.int_type)
    # What is left of sqrt(1/2) in the order of the bits belongs to the power before.
    start = int(_bits_of(sqrt(0.5), form))
    power = builder.ashr(builder.sub(bits, v.integers(start)), v.integers(form.mantissa_bits))
    fraction = builder.bitcast(builder.sub(bits, builder.shl(power, v.integers(form.mantissa_bits))), v.type)
    power = builder.sub(power, builder.select(is_subnormal, v.integers(up), v.integers(0)))
    return builder.sitofp(power, v.type), builder.fsub(fraction, v.constant(1.0))


def _bits_of(number: float, form: _Format) -> int:
    """Return the bits of a ``number`` from 1/2 up to 1, cut off."""
    mantissa = int((2 * number - 1) * 2**form.mantissa_bits)
    return (form.exponent_bias - 1 << form.mantissa_bits) + mantissa


def _sum(v: Vectors, k: ir.Value, f: ir.Value, rest: ir.Value) -> ir.Value:
    """Return k ln 2 + log(1 + f) + rest."""
    builder, form = v.builder, _FORMATS[v.bytes]
    s = builder.fdiv(f, builder.fadd(v.constant(2.0), f))
    z = builder.fmul(s, s)
    series = v.constant(2 / (2 * form.terms + 1))
    for term in range(form.terms - 1, 0, -1):
        series = v.fma(series, z, v.constant(2 / (2 * term + 1)))
    series = builder.fmul(series, z)
    half_square = builder.fmul(builder.fmul(f, f), v.constant(0.5))
    small = v.fma(k, v.constant(form.ln2_low), rest)
    small = v.fma(s, builder.fadd(half_square, series), small)
    low = builder.fsub(builder.fsub(half_square, small), f)
    return v.fma(k, v.constant(form.ln2_high), builder.fneg(low))


def _limits(v: Vectors, x: ir.Value, value: ir.Value, least: float, factor: ir.Value) -> ir.Value:
    """Return ``value``, and what the logarithm is at ``least``, below it, at infinity (``factor``) and of NaN."""
    builder = v.builder
    value = builder.select(builder.fcmp_ordered("==", x, v.constant(least)), v.constant(-inf), value)
    value = builder.select(builder.fcmp_unordered("<", x, v.constant(least)), v.constant(nan), value)
    return builder.select(builder.fcmp_ordered("==", x, v.constant(inf)), factor, value)

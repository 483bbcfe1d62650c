"""log and log1p of vectors, float32 and float64, at most 2 ULP off.

A number is 2**k * (1 + f) with 1 + f between sqrt(1/2) and sqrt(2). With s = f / (2 + f),

    log(1 + f) = 2 atanh(s) = f - (f**2 / 2 - s * (f**2 / 2 + 2 s**2 / 3 + 2 s**4 / 5 + ...)),

where what is taken from f is small, and so are its errors (the form is that of the C library of 4.4BSD).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy
from llvmlite import ir

from fastbp_kernels.compiler.vectors import Vectors
from fastbp_kernels.functions.elementary import FORMATS


@dataclass(frozen=True)
class _Format:
    """What the functions need to know of a float format, beside ``elementary.FORMATS``."""

    terms: int  # of the series: the first missing one is below an eighth of a unit in the last place
    smallest_normal: float
    scale_bits: int  # subnormal numbers times 2**scale_bits are normal


_FORMATS = {4: _Format(4, 2.0**-126, 24), 8: _Format(10, 2.0**-1022, 53)}


def log(v: Vectors, x: ir.Value) -> ir.Value:
    """Return the natural logarithm: minus infinity of 0, NaN of numbers below."""
    b, form = v.builder, _FORMATS[v.bytes]
    subnormal = b.fcmp_ordered("<", x, v.constant(form.smallest_normal))
    normal = b.select(subnormal, b.fmul(x, v.constant(2.0**form.scale_bits)), x)
    k, f = _split(v, normal)
    k = b.select(subnormal, b.fsub(k, v.constant(float(form.scale_bits))), k)
    return _at_limits(v, x, _log_of_parts(v, k, f, v.constant(0.0)), x)


def log1p(v: Vectors, x: ir.Value) -> ir.Value:
    """Return log(1 + x): minus infinity of -1, NaN of numbers below."""
    b, one = v.builder, v.constant(1.0)
    u = b.fadd(one, x)
    part = b.fsub(u, one)
    lost = b.fadd(b.fsub(x, part), b.fsub(one, b.fsub(u, part)))  # of the sum's rounding
    k, f = _split(v, u)
    near_zero = b.fcmp_ordered("==", k, v.constant(0.0))
    f = b.select(near_zero, x, f)
    correction = b.select(near_zero, v.constant(0.0), b.fmul(lost, v.estimated_reciprocal(u)))  # a few digits do
    result = b.select(b.fcmp_ordered("==", x, v.constant(0.0)), x, _log_of_parts(v, k, f, correction))  # -0 of -0
    return _at_limits(v, u, result, x)


def _split(v: Vectors, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return k, as a float, and f of a normal number."""
    b, bits = v.builder, FORMATS[v.bytes].mantissa_bits
    # A mantissa from sqrt(2) on carries into the exponent.
    offset = v.integers(_bits_of(v, 1.0) - _bits_of(v, sqrt(0.5)))
    whole = b.add(b.bitcast(x, v.int_type), offset)
    k = b.sub(b.ashr(whole, v.integers(bits)), v.integers(FORMATS[v.bytes].exponent_bias))
    mantissa = b.sub(b.and_(whole, v.integers((1 << bits) - 1)), offset)
    scaled = b.bitcast(b.add(mantissa, v.integers(_bits_of(v, 1.0))), v.type)
    return b.sitofp(k, v.type), b.fsub(scaled, v.constant(1.0))


def _bits_of(v: Vectors, value: float) -> int:
    floats, integers = (numpy.float32, numpy.int32) if v.bytes == 4 else (numpy.float64, numpy.int64)
    return int(floats(value).view(integers))


def _log_of_parts(v: Vectors, k: ir.Value, f: ir.Value, correction: ir.Value) -> ir.Value:
    """Return k * ln 2 + log(1 + f) + correction."""
    b, form = v.builder, FORMATS[v.bytes]
    s = b.fdiv(f, b.fadd(f, v.constant(2.0)))
    z = b.fmul(s, s)
    terms = _FORMATS[v.bytes].terms
    series = v.constant(2 / (2 * terms + 1))
    for power in range(terms - 1, 0, -1):
        series = v.fma(series, z, v.constant(2 / (2 * power + 1)))
    half_square = b.fmul(b.fmul(f, f), v.constant(0.5))
    rest = b.fmul(s, b.fadd(half_square, b.fmul(z, series)))
    low = b.fadd(v.fma(k, v.constant(form.ln2_low), correction), rest)
    return v.fma(k, v.constant(form.ln2_high), b.fsub(f, b.fsub(half_square, low)))


def _at_limits(v: Vectors, argument: ir.Value, result: ir.Value, x: ir.Value) -> ir.Value:
    """Return ``result``, or what the logarithm is where it is not finite; that of infinity and NaN is ``x``."""
    b, zero, infinity = v.builder, v.constant(0.0), v.constant(float("inf"))
    result = b.select(b.fcmp_ordered("==", argument, zero), b.fneg(infinity), result)
    result = b.select(b.fcmp_ordered("<", argument, zero), v.constant(float("nan")), result)
    return b.select(b.fcmp_unordered("==", argument, infinity), x, result)

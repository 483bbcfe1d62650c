"""tanh of float32 from a table: a polynomial for each interval of |x|, for CPUs that look up numbers in registers.

The floats of an interval share exponent and first two bits of mantissa, so that its number stands in the bits of |x|.
The first starts at 0; from ``LIMIT`` on, tanh is 1. AVX-512 looks up any of the 32 numbers in two registers at once;
without that, gathering them from memory would take longer than the quotient of ``elementary``.
"""

from __future__ import annotations

from functools import cache

import numpy
from llvmlite import ir

from fastbp_kernels.compiler.vectors import Vectors

LIMIT = 10.0  # an interval starts here
DEGREE = 5  # another one brings nothing: what errs is the rounding of the first coefficient and of the last sum
_INTERVALS = 32
_SHIFT = 23 - 2  # bits of a float32's mantissa behind the first two
_FIRST = int(numpy.float32(1 / 16).view(numpy.int32)) >> _SHIFT


def fits(v: Vectors) -> bool:
    """Whether vectors like these can look up the table."""
    return v.looks_up == _INTERVALS


def tanh(v: Vectors, x: ir.Value, magnitude: ir.Value) -> ir.Value:
    """Return tanh(x), where ``magnitude`` is |x| up to ``LIMIT``, or NaN."""
    builder = v.builder
    number = builder.lshr(builder.bitcast(magnitude, v.int_type), v.integers(_SHIFT))
    below = builder.icmp_signed("<", number, v.integers(_FIRST))
    interval = builder.select(below, v.integers(_FIRST), number)
    middle, *coefficients = (v.look_up(column, interval) for column in _table())
    distance = builder.fsub(magnitude, middle)
    total = coefficients.pop()
    while coefficients:
        total = v.fma(total, distance, coefficients.pop())
    return v.copysign(total, x)


@cache
def _table() -> list[list[float]]:
    """Return the middle and the coefficients, lowest first: of each, a number for every interval.

    An interval's place is the last bits of its number, which are what is looked up.
    """
    numbers = range(_FIRST, _FIRST + _INTERVALS)
    rows = [_of_interval(number) for number in sorted(numbers, key=lambda number: number % _INTERVALS)]
    return [list(column) for column in zip(*rows)]


def _of_interval(number: int) -> list[float]:
    """Return an interval's middle, and the polynomial of the distance from it that is tanh at its Chebyshev nodes."""
    from numpy.polynomial import Chebyshev, Polynomial  # here: needed where kernels are compiled only

    start, stop = (float(numpy.int32(n << _SHIFT).view(numpy.float32)) for n in (number, number + 1))
    if number == _FIRST:  # the Taylor series from 0: small results are as exact as large ones
        return [0.0, 0.0, 1.0, 0.0, -1 / 3, 0.0, 2 / 15]
    if start >= LIMIT:
        return [0.0, 1.0] + [0.0] * DEGREE
    middle, reach = (start + stop) / 2, (stop - start) / 2
    nodes = Chebyshev.interpolate(lambda distance: numpy.tanh(middle + distance), DEGREE, [-reach, reach])
    return [middle, *nodes.convert(kind=Polynomial).coef.tolist()]

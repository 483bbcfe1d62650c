"""The L2 penalty: a multiple of the sum of squares of some parameters, as a part of the loss and of its gradient.

Squares are summed in float64 over slabs of ``NORM_SLAB`` parameters, as those of a gradient's norm are, so that the
bits do not depend on who sums which slabs.
"""

from __future__ import annotations

from typing import NamedTuple

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.elementwise import elementwise2_scaled
from fastbp_kernels.compiler.pointers import Array, Pointer, shift
from fastbp_kernels.functions.gradient_clipping import NORM_SLAB, square_sum

_add_scaled = elementwise2_scaled(lambda v, scalar, x, y: v.fma(scalar, x, y))


class Penalty(NamedTuple):
    """What is added to the loss of each mini-batch.

    Attributes
    ----------
    spans : array of int64, shape (spans, 2), read
        The first parameter and the last + 1 of those whose squares are summed; none where nothing is added.
    factors : vector of float64, read
        What the sum is multiplied by, for each step of the call, or one for all of them.
    sums : vector of float64, written
        One for each ``NORM_SLAB`` parameters.
    """

    spans: Array
    factors: Array
    sums: Array


@inner_kernel
def add_penalty_gradient(
    first: int, stop: int, spans: Array, doubled: float, parameter: Pointer, grad: Pointer, sums: Array
) -> None:
    """Add ``doubled`` times the parameters to ``grad``, and write the sums of their squares, of some slabs.

    Parameters
    ----------
    first, stop : int
        Slabs.
    spans, sums
        See ``Penalty``.
    doubled : float
        Twice the factor, of the parameters' type.
    parameter : pointer, read
    grad : pointer, read and written
    """
    for slab in range(first, stop):
        total = 0.0
        for span in range(spans.shape[0]):
            begin, end = max(slab * NORM_SLAB, spans[span, 0]), min((slab + 1) * NORM_SLAB, spans[span, 1])
            if begin < end:
                own, own_grad = shift(parameter, begin), shift(grad, begin)
                total += square_sum(end - begin, own)
                _add_scaled(end - begin, doubled, own, own_grad, own_grad)
        sums[slab] = total

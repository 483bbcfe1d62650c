"""The norm of a gradient, and the factor that clips it.

Squares are summed in float64 over slabs of ``NORM_SLAB`` numbers, and the slabs' sums in order: whoever splits a vector
at multiples of that gets the same bits.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.decorators import inner_kernel, kernel
from fastbp_kernels.compiler.elementwise import elementwise2_scaled
from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, full_vectors, intrinsic
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, shift
from fastbp_kernels.compiler.vectors import INT64, Vectors

NORM_SLAB = 1024

_scaled = elementwise2_scaled(lambda v, scalar, x, _: v.builder.fmul(scalar, x))


@intrinsic
def square_sum(typing_context: Context, count: types.Integer, x: types.CPointer) -> Definition:
    """Return the sum of the squares of ``count`` numbers, in float64: each lane sums its own, then the lanes."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        count, place = arguments
        v = full_vectors(context, builder, x)
        wide = Vectors(builder, ir.DoubleType(), v.lanes)

        def add(value: ir.Value) -> None:
            value = value if v.bytes == 8 else builder.fpext(value, wide.type)
            builder.store(wide.fma(value, value, builder.load(total)), total)

        total = cgutils.alloca_once_value(builder, wide.constant(0.0))
        rest = builder.srem(count, INT64(v.lanes))
        full = builder.sub(count, rest)
        with cgutils.for_range_slice(builder, INT64(0), full, INT64(v.lanes), inc=True) as (index, _):
            add(v.load(builder.gep(place, [index])))
        with builder.if_then(builder.icmp_signed(">", rest, INT64(0))):
            add(v.masked_load(builder.gep(place, [full]), v.first_lanes(rest)))
        return wide.sum(builder.load(total))

    return types.float64(types.intp, x), codegen


@inner_kernel
def square_sums(first: int, stop: int, size: int, grad: Pointer, sums: Array) -> None:
    """Write the sums of squares of the slabs from ``first`` to ``stop`` of a vector of ``size``."""
    for slab in range(first, stop):
        start = slab * NORM_SLAB
        sums[slab] = square_sum(min(NORM_SLAB, size - start), shift(grad, start))


@inner_kernel
def clip_factor(total: float, max_norm: float) -> float:
    """Return what a gradient with this sum of squares is multiplied by, as in ``torch.nn.utils.clip_grad_norm_``."""
    factor = max_norm / (sqrt(total) + 1e-6)
    return 1.0 if factor >= 1.0 else factor  # NaN stays


@inner_kernel
def scale_gradient(count: int, factor: float, grad: Pointer) -> None:
    """Multiply ``count`` numbers by ``factor``, rounded to their type."""
    _scaled(count, factor, grad, grad, grad)


@kernel
def add_square_sum(grad: Array, sums: Array, total: float) -> float:
    """Return ``total`` and the squares of ``grad`` added to it; ``sums`` has room for its slabs."""
    slabs = (grad.size + NORM_SLAB - 1) // NORM_SLAB
    square_sums(0, slabs, grad.size, pointer(grad), sums)
    for slab in range(slabs):
        total += sums[slab]
    return total


@kernel
def clip(grad: Array, total: float, max_norm: float) -> None:
    """Multiply ``grad`` by the ``clip_factor`` of these."""
    scale_gradient(grad.size, grad.dtype.type(clip_factor(total, max_norm)), pointer(grad))

"""The norm of a gradient, and the factor that clips it.

Squares are summed in float64 over slabs of ``NORM_SLAB`` numbers, and the slabs' sums in order: whoever splits a vector
at multiples of that gets the same bits. Where squares leave the range of float64, those of the numbers over the largest
are summed instead.
"""

from __future__ import annotations

from math import hypot, inf, sqrt
from typing import Any

from llvmlite import ir
from numba import float64, types

from fastbp_kernels.compiler.decorators import inner_kernel, kernel
from fastbp_kernels.compiler.elementwise import elementwise2_scaled
from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, full_vectors, intrinsic
from fastbp_kernels.compiler.late_kernel import late_kernel
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, pointer_at, shift, stack_memory
from fastbp_kernels.compiler.vectors import INT64, Vectors

NORM_SLAB = 1024
# Below it a sum may lack squares that are too small for float64: up to 2**28 of them, each below 2**-1022.
_LEAST_SUM = 2.0**-940

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
def leaves_range(total: float) -> bool:
    """Whether a sum of squares does not tell the norm: it is too small or infinite. NaN tells it."""
    return total < _LEAST_SUM or total == inf


@late_kernel(lambda p: (types.intp, p, types.CPointer(types.float64)))
def _norm_over_largest(size: int, grad: Pointer, result: Pointer) -> None:
    largest, total = 0.0, 0.0
    for k in range(size):
        largest = max(largest, abs(float64(grad[k])))
    result[0] = largest
    if 0.0 < largest < inf:
        for k in range(size):
            part = float64(grad[k]) / largest
            total += part * part
        result[0] = largest * sqrt(total)


@inner_kernel
def norm_beyond_squares(size: int, grad: Pointer, sums: Array) -> float:
    """Return the norm of a vector of ``size`` without NaN whose sum of squares ``leaves_range``.

    ``sums`` is any vector of float64.
    """
    result = stack_memory(pointer(sums), 1)
    _norm_over_largest(size, grad, result)
    norm: float = result[0]
    return norm


@inner_kernel
def clip_factor(norm: float, max_norm: float) -> float:
    """Return what a gradient of this norm is multiplied by, as in ``torch.nn.utils.clip_grad_norm_``."""
    factor = max_norm / (norm + 1e-6)
    return 1.0 if factor >= 1.0 else factor  # NaN stays


@inner_kernel
def scale_gradient(count: int, factor: float, grad: Pointer) -> None:
    """Multiply ``count`` numbers by ``factor``, rounded to their type."""
    _scaled(count, factor, grad, grad, grad)


@kernel
def gradient_norm(runs: Array, sums: Array, like: Array) -> float:
    """Return the norm of gradients that lie in runs, as if they were one vector.

    Parameters
    ----------
    runs : array of int64, shape (runs, 2), read
        The address of the first number of each, and how many there are.
    sums : vector of float64, written
        With room for the slabs of the longest run.
    like : array of the gradients' dtype
    """
    total = 0.0
    for run in range(runs.shape[0]):
        slabs, own = (runs[run, 1] + NORM_SLAB - 1) // NORM_SLAB, 0.0
        square_sums(0, slabs, runs[run, 1], pointer_at(pointer(like), runs[run, 0]), sums)
        for slab in range(slabs):
            own += sums[slab]
        total += own
    if not leaves_range(total):
        return sqrt(total)
    norm = 0.0
    for run in range(runs.shape[0]):
        norm = hypot(norm, norm_beyond_squares(runs[run, 1], pointer_at(pointer(like), runs[run, 0]), sums))
    return norm


@kernel
def clip(runs: Array, norm: float, max_norm: float, like: Array) -> None:
    """Multiply gradients in runs, as ``gradient_norm`` takes them, by the ``clip_factor`` of these."""
    factor = like.dtype.type(clip_factor(norm, max_norm))
    for run in range(runs.shape[0]):
        scale_gradient(runs[run, 1], factor, pointer_at(pointer(like), runs[run, 0]))

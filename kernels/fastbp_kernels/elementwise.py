"""Loops that apply a function of vectors to arrays."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastbp_kernels.vectors import INT64, LANE_BYTES, Vectors

VectorFunction = Callable[..., ir.Value]


def elementwise1(function: VectorFunction):
    """Return an intrinsic ``(count, x, out)`` that stores ``function(v, x)`` of ``count`` elements; out may be x."""

    @intrinsic
    def loop(typing_context, count, x, out):
        def codegen(context, builder, signature, arguments):
            return _emit_loop(context, builder, out, function, arguments)

        return types.void(types.intp, x, out), codegen

    return loop


def elementwise2(function: VectorFunction):
    """Return an intrinsic ``(count, x, y, out)`` that stores ``function(v, x, y)``; out may be x or y."""

    @intrinsic
    def loop(typing_context, count, x, y, out):
        def codegen(context, builder, signature, arguments):
            return _emit_loop(context, builder, out, function, arguments)

        return types.void(types.intp, x, y, out), codegen

    return loop


def elementwise2_scaled(function: VectorFunction):
    """Return an intrinsic ``(count, scalar, x, y, out)`` that stores ``function(v, scalar in every lane, x, y)``."""

    @intrinsic
    def loop(typing_context, count, scalar, x, y, out):
        def codegen(context, builder, signature, arguments):
            count, scalar, *arrays = arguments
            return _emit_loop(
                context, builder, out, lambda v, *values: function(v, v.splat(scalar), *values), [count, *arrays]
            )

        return types.void(types.intp, out.dtype, x, y, out), codegen

    return loop


copy_loop = elementwise1(lambda v, x: x)
add_loop = elementwise2(lambda v, x, y: v.builder.fadd(x, y))


@intrinsic
def zero_loop(typing_context, count, out):
    """Store 0 to ``count`` elements, a multiple of a vector's lanes."""

    def codegen(context, builder, signature, arguments):
        count, out = arguments
        v = Vectors(builder, context.get_value_type(pointer_type.dtype), LANE_BYTES // (pointer_type.dtype.bitwidth // 8))
        with cgutils.for_range_slice(builder, INT64(0), count, INT64(v.lanes), inc=True) as (index, _):
            v.store(v.constant(0.0), builder.gep(out, [index]))
        return context.get_dummy_value()

    pointer_type = out
    return types.void(types.intp, out), codegen


def _emit_loop(context, builder, out_type, function: VectorFunction, arguments: list[ir.Value]) -> ir.Value:
    """Emit the loop over full vectors and one masked vector for the rest."""
    count, *inputs, out = arguments
    element = context.get_value_type(out_type.dtype)
    v = Vectors(builder, element, LANE_BYTES // (out_type.dtype.bitwidth // 8))
    rest = builder.srem(count, INT64(v.lanes))
    full = builder.sub(count, rest)
    with cgutils.for_range_slice(builder, INT64(0), full, INT64(v.lanes), inc=True) as (index, _):
        values = [v.load(builder.gep(place, [index])) for place in inputs]
        v.store(function(v, *values), builder.gep(out, [index]))
    with builder.if_then(builder.icmp_signed(">", rest, INT64(0))):
        mask = v.first_lanes(rest)
        values = [v.masked_load(builder.gep(place, [full]), mask) for place in inputs]
        v.masked_store(function(v, *values), builder.gep(out, [full]), mask)
    return context.get_dummy_value()

"""Loops that apply a function of vectors to arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, full_vectors, intrinsic
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.pointers import Pointer
from fastbp_kernels.compiler.vectors import INT64, Vectors

VectorFunction = Callable[..., ir.Value]


def elementwise1(function: VectorFunction) -> Callable[[int, Pointer, Pointer], None]:
    """Return an intrinsic ``(count, x, out)`` that stores ``function(v, x)`` of ``count`` elements; out may be x."""

    @intrinsic
    def loop(typing_context: Context, count: types.Integer, x: types.CPointer, out: types.CPointer) -> Definition:
        def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
            return emit_loop(context, builder, out, function, arguments)

        return types.void(types.intp, x, out), codegen

    return loop


def elementwise2(function: VectorFunction) -> Callable[[int, Pointer, Pointer, Pointer], None]:
    """Return an intrinsic ``(count, x, y, out)`` that stores ``function(v, x, y)``; out may be x or y."""

    @intrinsic
    def loop(
        typing_context: Context, count: types.Integer, x: types.CPointer, y: types.CPointer, out: types.CPointer
    ) -> Definition:
        def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
            return emit_loop(context, builder, out, function, arguments)

        return types.void(types.intp, x, y, out), codegen

    return loop


def elementwise2_scaled(function: VectorFunction) -> Callable[[int, float, Pointer, Pointer, Pointer], None]:
    """Return an intrinsic ``(count, scalar, x, y, out)`` that stores ``function(v, scalar in every lane, x, y)``."""

    @intrinsic
    def loop(
        typing_context: Context, count: types.Integer, scalar: types.Float, x: types.CPointer, y: types.CPointer,
        out: types.CPointer,
    ) -> Definition:  # fmt: skip
        def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
            count, scalar, *arrays = arguments

            def scaled(v: Vectors, *values: ir.Value) -> ir.Value:
                return function(v, v.splat(scalar), *values)

            return emit_loop(context, builder, out, scaled, [count, *arrays])

        return types.void(types.intp, out.dtype, x, y, out), codegen

    return loop


copy_loop = elementwise1(lambda v, x: x)
add_loop = elementwise2(lambda v, x, y: v.builder.fadd(x, y))
multiply_loop = elementwise2(lambda v, x, y: v.builder.fmul(x, y))


@intrinsic
def zero_loop(typing_context: Context, count: types.Integer, out: types.CPointer) -> Definition:
    """Store 0 to ``count`` elements."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        return emit_loop(context, builder, out, lambda v: v.constant(0.0), arguments)

    return types.void(types.intp, out), codegen


def emit_loop(
    context: Context, builder: ir.IRBuilder, out_type: types.CPointer, function: VectorFunction, arguments: Values
) -> ir.Value:
    """Emit ``out[...] = function(v, *inputs)`` of ``arguments``: a count, inputs and out."""
    count, *inputs, out = arguments
    v = full_vectors(context, builder, out_type)
    emit_loops(v, lambda v, *values: (function(v, *values),), count, inputs, [out])
    return context.get_dummy_value()


def emit_loops(
    v: Vectors, function: Callable[..., Sequence[ir.Value]], count: ir.Value, inputs: Values, outs: Values
) -> None:
    """Emit the loop that stores what ``function(v, *inputs)`` returns: full vectors and one masked one for the rest."""
    builder = v.builder
    rest = builder.srem(count, INT64(v.lanes))
    full = builder.sub(count, rest)
    with cgutils.for_range_slice(builder, INT64(0), full, INT64(v.lanes), inc=True) as (index, _):
        values = [v.load(builder.gep(place, [index])) for place in inputs]
        for value, out in zip(function(v, *values), outs):
            v.store(value, builder.gep(out, [index]))
    with builder.if_then(builder.icmp_signed(">", rest, INT64(0))):
        mask = v.first_lanes(rest)
        values = [v.masked_load(builder.gep(place, [full]), mask) for place in inputs]
        for value, out in zip(function(v, *values), outs):
            v.masked_store(value, builder.gep(out, [full]), mask)


def emit_sum(v: Vectors, function: VectorFunction, count: ir.Value, inputs: Values) -> ir.Value:
    """Emit the sum of ``function(v, *inputs)`` over ``count`` elements and return it: each lane adds up its own."""
    return v.sum(emit_fold(v, function, v.builder.fadd, v.constant(0.0), count, inputs))


def emit_fold(
    v: Vectors, function: VectorFunction, combine: Callable[[ir.Value, ir.Value], ir.Value], start: ir.Constant,
    count: ir.Value, inputs: Values,
) -> ir.Value:  # fmt: skip
    """Emit what ``combine`` makes of ``start`` and ``function(v, *inputs)`` in each lane, and return the lanes.

    Elements that are not there count as ``start``.
    """
    builder = v.builder
    total = cgutils.alloca_once(builder, start.type)
    builder.store(start, total)
    rest = builder.srem(count, INT64(v.lanes))
    full = builder.sub(count, rest)
    with cgutils.for_range_slice(builder, INT64(0), full, INT64(v.lanes), inc=True) as (index, _):
        values = [v.load(builder.gep(place, [index])) for place in inputs]
        builder.store(combine(builder.load(total), function(v, *values)), total)
    with builder.if_then(builder.icmp_signed(">", rest, INT64(0))):
        mask = v.first_lanes(rest)
        values = [v.masked_load(builder.gep(place, [full]), mask) for place in inputs]
        value = builder.select(mask, function(v, *values), start)
        builder.store(combine(builder.load(total), value), total)
    return builder.load(total)

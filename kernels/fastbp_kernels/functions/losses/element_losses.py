"""Losses over elements: one loop over a run of numbers, with one branch for each row of the registry.

Within a run, each vector lane adds up its losses in float64, vector by vector; then the lanes are added.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.switch import emit_switch
from fastbp_kernels.compiler.vectors import INT64, Vectors, vectors_of
from fastbp_kernels.functions.losses.registry import FIRST_ADDRESS, LOSSES, Loss

_DOUBLE = ir.DoubleType()


@intrinsic
def element_losses(
    typing_context: Context, code: types.Integer, count: types.Integer, prediction: types.CPointer,
    target: types.CPointer, scalars: types.CPointer, vectors: types.CPointer, vector_row: types.Integer,
) -> Definition:  # fmt: skip
    """Return the sum of the losses of ``count`` numbers; the ``vectors`` of the settings lie ``vector_row`` apart.

    It is NaN for the code of a loss over rows, and for that of none.
    """

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        element = context.get_value_type(prediction.dtype)
        nothing = [ir.Constant(element, 0.0), ir.Constant(element.as_pointer(), None)]
        return _emit_call(prediction, context, builder, signature, [*arguments, *nothing])

    signature = types.float64(types.int64, types.intp, *[prediction] * 4, types.intp)
    return signature, codegen


@intrinsic
def element_losses_with_gradient(
    typing_context: Context, code: types.Integer, count: types.Integer, prediction: types.CPointer,
    target: types.CPointer, scalars: types.CPointer, vectors: types.CPointer, vector_row: types.Integer,
    factor: types.Float, grad: types.CPointer,
) -> Definition:  # fmt: skip
    """Do ``element_losses`` and write the gradient times ``factor`` to ``grad``, which may be ``target``."""

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        return _emit_call(prediction, context, builder, signature, arguments)

    signature = types.float64(types.int64, types.intp, *[prediction] * 4, types.intp, prediction.dtype, prediction)
    return signature, codegen


def _emit_call(
    prediction: types.CPointer, context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values
) -> ir.Value:
    total = cgutils.alloca_once(builder, _DOUBLE)
    _LOOP.call(prediction)(context, builder, signature, [*arguments, total])
    return builder.load(total)


def _arguments(element: ir.Type) -> list[ir.Type]:
    return [INT64, INT64, *[element.as_pointer()] * 4, INT64, element, element.as_pointer(), _DOUBLE.as_pointer()]


def _emit(function: ir.Function, element: ir.Type) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    code, count, prediction, target, scalars, vectors, vector_row, factor, grad, total = function.args
    v = vectors_of(builder, element)
    builder.store(ir.Constant(_DOUBLE, float("nan")), total)

    def case(row: Loss) -> None:
        if row.value is not None:
            settings = [v.splat(builder.load(builder.gep(scalars, [INT64(n)]))) for n in range(len(row.scalars))]
            own = [builder.gep(vectors, [builder.mul(INT64(n), vector_row)]) for n in range(len(row.vectors))]
            run = _Run(v, row, settings, [prediction, target, *own], factor, grad)
            builder.store(run.emit(count), total)

    with builder.if_else(builder.icmp_unsigned(">=", code, INT64(FIRST_ADDRESS))) as (is_own, is_row):
        with is_own:
            builder.store(_emit_own(builder, element, code, count, prediction, target, factor, grad), total)
        with is_row:
            emit_switch(builder, code, LOSSES, case)
    builder.ret_void()


def _emit_own(
    builder: ir.IRBuilder, element: ir.Type, address: ir.Value, count: ir.Value, prediction: ir.Value,
    target: ir.Value, factor: ir.Value, grad: ir.Value,
) -> ir.Value:  # fmt: skip
    """Emit the call of a loop of the user's at ``address``: see ``LossCall`` in ``kernels``."""
    pointer = element.as_pointer()
    loop = ir.FunctionType(_DOUBLE, [INT64, pointer, pointer, element, INT64, pointer])
    wants_gradient = builder.zext(builder.icmp_unsigned("!=", grad, ir.Constant(pointer, None)), INT64)
    place = builder.inttoptr(address, loop.as_pointer())
    return builder.call(place, [count, prediction, target, factor, wants_gradient, grad])


class _Run:
    """Emits the loop of one loss."""

    def __init__(
        self, v: Vectors, row: Loss, scalars: Values, inputs: Values, factor: ir.Value, grad: ir.Value
    ) -> None:
        self.v, self.row, self.scalars, self.inputs, self.grad = v, row, scalars, inputs, grad
        self.factor = v.splat(factor)
        self.wants_gradient = v.builder.icmp_unsigned("!=", grad, ir.Constant(grad.type, None))
        self.sums = Vectors(v.builder, _DOUBLE, v.lanes)

    def emit(self, count: ir.Value) -> ir.Value:
        """Emit the loop over ``count`` numbers; return their sum."""
        v, builder, sums = self.v, self.v.builder, self.sums
        total = cgutils.alloca_once_value(builder, sums.constant(0.0))
        with cgutils.for_range_slice(builder, INT64(0), count, INT64(v.lanes), inc=True) as (first, _):
            left = builder.sub(count, first)
            with builder.if_else(builder.icmp_signed(">=", left, INT64(v.lanes))) as (whole, ragged):
                with whole:
                    self._emit_vector(first, total, None)
                with ragged:
                    self._emit_vector(first, total, v.first_lanes(left))
        return sums.sum(builder.load(total))

    def _emit_vector(self, first: ir.Value, total: ir.Value, mask: ir.Value | None) -> None:
        """Emit the losses of one vector, of the lanes in ``mask``, and their gradient where it is wanted."""
        v, builder, sums = self.v, self.v.builder, self.sums
        places = [builder.gep(start, [first]) for start in self.inputs]
        x, y, *vectors = (v.load(place) if mask is None else v.masked_load(place, mask) for place in places)
        assert self.row.value is not None
        assert self.row.gradient is not None
        factors = [self._wide(factor, mask) for factor in self.row.value(v, x, y, *self.scalars, *vectors)]
        before = builder.load(total)
        one, *others = factors
        builder.store(sums.fma(one, others[0], before) if others else builder.fadd(before, one), total)
        with builder.if_then(self.wants_gradient):
            gradient = builder.fmul(self.factor, self.row.gradient(v, x, y, *self.scalars, *vectors))
            place = builder.gep(self.grad, [first])
            if mask is None:
                v.store(gradient, place)
            else:
                v.masked_store(gradient, place, mask)

    def _wide(self, value: ir.Value, mask: ir.Value | None) -> ir.Value:
        """Return ``value`` in float64, 0 in lanes that are not in ``mask``."""
        v, builder = self.v, self.v.builder
        if mask is not None:
            value = builder.select(mask, value, v.constant(0.0))
        return v.widened(value)


_LOOP = NativeFunction("element_losses", _arguments, _emit)

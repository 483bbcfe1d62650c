"""Losses over rows: cross entropy and negative log likelihood of as many rows at a time as a vector has lanes.

For cross entropy a lane goes through the outputs x of its row three times: for the largest one, for the sum of the
exponentials, and for the gradient. With the classes' probabilities p, their weights w, S = sum(exp(x - most)) and
q = w * p::

    loss = sum(q * (log(S) - (x - most)))        gradient = exp(x - most) / S * sum(q) - q

Negative log likelihood is -w * x at the row's class; a lane goes through its row once, for the gradient: -w there and 0
elsewhere. Which loss of the registry is emitted by which function stands in ``_EMIT``, at the end of this file.

Sums are in float64. A lane without a class has no loss, and a gradient of zeros, or of NaN where softmax is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.switch import emit_switch
from fastbp_kernels.compiler.vectors import INT64, Vectors, vectors_of
from fastbp_kernels.functions.elementary import exp_of_less
from fastbp_kernels.functions.logarithm import log
from fastbp_kernels.functions.losses.registry import LOSSES, Loss

_DOUBLE = ir.DoubleType()


@intrinsic
def row_losses(
    typing_context: Context, code: types.Integer, rows: types.Integer, outputs: types.Integer,
    prediction: types.CPointer, target: types.CPointer, classes: types.CPointer, weights: types.CPointer,
    is_weighted: types.Boolean, smoothing: types.Float, largest: types.Float, class_weights: types.CPointer,
    factor: types.Float, grad: types.CPointer, wants_gradient: types.Boolean,
) -> Definition:  # fmt: skip
    """Return the sum of the losses of rows, and write ``factor`` times their gradient to ``grad`` if it is wanted.

    It may be ``target``; that or ``classes``, int64, -1 for none, are read as the loss takes them, and ``weights`` of
    rows if it ``is_weighted``. A loss that does not smooth, or has no largest value, reads none of these. The result is
    NaN for the code of a loss over elements, and for that of none.
    """

    def codegen(context: Context, builder: ir.IRBuilder, signature: Any, arguments: Values) -> ir.Value:
        total = cgutils.alloca_once(builder, _DOUBLE)
        _ROW_LOSSES.call(prediction)(context, builder, signature, [*arguments, total])
        return builder.load(total)

    element = prediction.dtype
    arrays = [prediction, prediction, types.CPointer(types.int64), prediction]
    return types.float64(
        types.int64, types.intp, types.intp, *arrays, types.boolean, element, element, prediction, element, prediction,
        types.boolean,
    ), codegen  # fmt: skip


def _arguments(element: ir.Type) -> list[ir.Type]:
    pointer, flag = element.as_pointer(), ir.IntType(1)
    arrays = [pointer, pointer, INT64.as_pointer(), pointer]
    settings = [element, element, pointer]
    return [INT64, INT64, INT64, *arrays, flag, *settings, element, pointer, flag, _DOUBLE.as_pointer()]


def _emit(function: ir.Function, element: ir.Type) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    code, rows, *others, total = function.args
    v = vectors_of(builder, element)
    builder.store(ir.Constant(_DOUBLE, float("nan")), total)

    def case(row: Loss) -> None:
        if row.over != "rows":
            return
        sums = Vectors(builder, _DOUBLE, v.lanes)
        sum_of_lanes = cgutils.alloca_once_value(builder, sums.constant(0.0))
        with cgutils.for_range_slice(builder, INT64(0), rows, INT64(v.lanes), inc=True) as (first, _):
            losses = _EMIT[row.name](_Rows(v, sums, first, rows, others))
            builder.store(builder.fadd(builder.load(sum_of_lanes), losses), sum_of_lanes)
        builder.store(sums.sum(builder.load(sum_of_lanes)), total)

    emit_switch(builder, code, LOSSES, case)
    builder.ret_void()


class _Rows:
    """As many rows as there are lanes, and what is emitted for each of them."""

    def __init__(self, v: Vectors, sums: Vectors, first: ir.Value, rows: ir.Value, arguments: Values) -> None:
        self.v, self.sums, b = v, sums, v.builder
        self.outputs, prediction, target, classes, weights, is_weighted, *settings, factor, grad, wants = arguments
        smoothing, largest, self._class_weights = settings
        start = b.mul(first, self.outputs)
        self._x, self._target, self._grad = (b.gep(place, [start]) for place in (prediction, target, grad))
        self._classes = b.gep(classes, [first])
        self.smoothing, self._largest = v.widened(v.splat(smoothing)), largest
        self.wants_gradient = wants
        self._mask = v.first_lanes(b.sub(rows, first))
        lanes = ir.Constant(ir.VectorType(INT64, v.lanes), list(range(v.lanes)))
        self._lanes, self._starts = lanes, b.mul(lanes, v.splat(self.outputs))
        weighted = b.and_(self._mask, v.splat(is_weighted))
        self._row_weight = v.gather(b.gep(weights, [first]), lanes, weighted, otherwise=1.0)
        self._factor = b.fmul(v.splat(factor), self._row_weight)

    def x(self, k: ir.Value) -> ir.Value:
        return self._of_rows(self._x, k)

    def target(self, k: ir.Value) -> ir.Value:
        return self.v.widened(self._of_rows(self._target, k))

    def _of_rows(self, start: ir.Value, k: ir.Value) -> ir.Value:
        return self.v.gather(self.v.builder.gep(start, [k]), self._starts, self._mask)

    def store_gradient(self, k: ir.Value, gradient: ir.Value, counts: ir.Value) -> None:
        """Store the factor, of 0 in lanes that do not count, times the gradient with respect to output ``k``."""
        v, b = self.v, self.v.builder
        factor = b.select(counts, self._factor, v.constant(0.0))  # a mean of no rows has one of NaN
        value = b.fmul(factor, gradient)
        v.scatter(value, b.gep(self._grad, [k]), self._starts, self._mask)

    def class_weight(self, k: ir.Value) -> ir.Value:
        """Return the weight of class ``k`` in every lane."""
        b = self.v.builder
        return self.v.widened(self.v.splat(b.load(b.gep(self._class_weights, [k]))))

    def bounded(self, losses: ir.Value) -> ir.Value:
        """Return the losses where they are not larger than the setting, else that; NaN stays."""
        b = self.v.builder
        largest = self.v.widened(self.v.splat(self._largest))
        return b.select(b.fcmp_ordered(">", losses, largest), largest, losses)

    def own(self) -> tuple[ir.Value, ir.Value, ir.Value, ir.Value]:
        """Return the rows' classes, the lanes that have one, the outputs at them, and their weights, else 0."""
        v, b = self.v, self.v.builder
        counts = Vectors(b, _DOUBLE, v.lanes)  # 64-bit numbers, whatever they stand for
        numbers = counts.gather(b.bitcast(self._classes, _DOUBLE.as_pointer()), self._lanes, self._mask)
        own = b.bitcast(numbers, ir.VectorType(INT64, v.lanes))
        has_one = b.and_(self._mask, b.icmp_signed(">=", own, ir.Constant(own.type, [0] * v.lanes)))
        picked = v.gather(self._x, b.add(self._starts, own), has_one)
        weight = v.gather(self._class_weights, own, has_one)
        return own, has_one, picked, v.widened(weight)

    def is_own(self, own: ir.Value, k: ir.Value) -> ir.Value:
        return self.v.builder.icmp_signed("==", own, self.v.splat(k))

    def each(self, emit: Callable[[ir.Value], None]) -> None:
        """Emit ``emit(k)`` for every output."""
        with cgutils.for_range_slice(self.v.builder, INT64(0), self.outputs, INT64(1), inc=True) as (k, _):
            emit(k)

    def most(self) -> ir.Value:
        """Return the largest output; beside NaN any, for the exponentials tell of that."""
        v, b = self.v, self.v.builder
        most = cgutils.alloca_once_value(b, v.constant(float("-inf")))

        def larger(k: ir.Value) -> None:
            x, before = self.x(k), b.load(most)
            b.store(v.larger(x, before), most)

        self.each(larger)
        return b.load(most)

    def weighted(self, losses: ir.Value, counts: ir.Value) -> ir.Value:
        """Return the losses times the weights of the rows, and 0 in lanes that do not count."""
        b = self.v.builder
        return b.select(counts, b.fmul(losses, self.v.widened(self._row_weight)), self.sums.constant(0.0))

    @property
    def all_rows(self) -> ir.Value:
        return self._mask


def _hard_cross_entropy(rows: _Rows) -> ir.Value:
    """Emit ``-w * log(softmax(x))`` at the rows' classes, the logarithm bounded, and its gradient, which is not."""
    v, sums, b = rows.v, rows.sums, rows.v.builder
    own, has_one, picked, weight = rows.own()
    most = rows.most()
    total = cgutils.alloca_once_value(b, sums.constant(0.0))

    def add(k: ir.Value) -> None:
        b.store(b.fadd(b.load(total), v.widened(exp_of_less(v, b.fsub(rows.x(k), most)))), total)

    rows.each(add)
    divisor = b.load(total)
    with b.if_then(rows.wants_gradient):
        narrow_weight, scale = v.narrowed(weight), v.narrowed(b.fdiv(weight, divisor))

        def gradient(k: ir.Value) -> None:
            one_hot = b.select(rows.is_own(own, k), narrow_weight, v.constant(0.0))
            rows.store_gradient(k, v.fma(exp_of_less(v, b.fsub(rows.x(k), most)), scale, b.fneg(one_hot)), has_one)

        rows.each(gradient)
    distance = v.widened(b.fsub(picked, most))
    losses = rows.bounded(b.fsub(log(sums, divisor), distance))
    return rows.weighted(b.fmul(losses, weight), has_one)


def _soft_cross_entropy(rows: _Rows, *, of_probabilities: bool) -> ir.Value:
    """Emit the loss and gradient of probabilities, or classes, mixed with a part of a uniform distribution."""
    v, sums, b = rows.v, rows.sums, rows.v.builder
    counted = b.uitofp(rows.outputs, _DOUBLE)
    share = b.fdiv(rows.smoothing, sums.splat(counted))
    kept = b.fsub(sums.constant(1.0), rows.smoothing)
    own, has_one, _, _ = rows.own() if not of_probabilities else (None, rows.all_rows, None, None)

    def weighted_probability(k: ir.Value) -> ir.Value:
        if of_probabilities:
            p = sums.fma(kept, rows.target(k), share)
        else:
            p = b.fadd(b.select(rows.is_own(own, k), kept, sums.constant(0.0)), share)
        return b.select(has_one, b.fmul(p, rows.class_weight(k)), sums.constant(0.0))

    most = rows.most()
    divisor, whole, cross = (cgutils.alloca_once_value(b, sums.constant(0.0)) for _ in range(3))

    def add(k: ir.Value) -> None:
        distance, q = b.fsub(rows.x(k), most), weighted_probability(k)
        b.store(b.fadd(b.load(divisor), v.widened(exp_of_less(v, distance))), divisor)
        b.store(b.fadd(b.load(whole), q), whole)
        b.store(sums.fma(b.fneg(q), v.widened(distance), b.load(cross)), cross)

    rows.each(add)
    with b.if_then(rows.wants_gradient):
        scale = v.narrowed(b.fdiv(b.load(whole), b.load(divisor)))

        def gradient(k: ir.Value) -> None:
            q = v.narrowed(weighted_probability(k))
            rows.store_gradient(k, v.fma(exp_of_less(v, b.fsub(rows.x(k), most)), scale, b.fneg(q)), has_one)

        rows.each(gradient)
    return rows.weighted(sums.fma(b.load(whole), log(sums, b.load(divisor)), b.load(cross)), has_one)


def _cross_entropy(rows: _Rows) -> ir.Value:
    """Emit the loss of classes, smoothed or not."""
    b, sums = rows.v.builder, rows.sums
    losses = cgutils.alloca_once(b, sums.type)
    smooths = b.fcmp_unordered("!=", b.extract_element(rows.smoothing, INT64(0)), ir.Constant(_DOUBLE, 0.0))
    with b.if_else(smooths) as (soft, hard):
        with soft:
            b.store(_soft_cross_entropy(rows, of_probabilities=False), losses)
        with hard:
            b.store(_hard_cross_entropy(rows), losses)
    return b.load(losses)


def _negative_log_likelihood(rows: _Rows) -> ir.Value:
    """Emit ``-w * x`` at the rows' classes and its gradient."""
    v, b = rows.v, rows.v.builder
    own, has_one, picked, weight = rows.own()
    with b.if_then(rows.wants_gradient):
        narrow_weight = v.narrowed(b.fneg(weight))

        def gradient(k: ir.Value) -> None:
            rows.store_gradient(k, b.select(rows.is_own(own, k), narrow_weight, v.constant(0.0)), has_one)

        rows.each(gradient)
    return rows.weighted(b.fneg(b.fmul(v.widened(picked), weight)), has_one)


_EMIT: dict[str, Callable[[_Rows], ir.Value]] = {
    "CrossEntropyLoss": _cross_entropy,
    "CrossEntropyLoss:probabilities": partial(_soft_cross_entropy, of_probabilities=True),
    "NLLLoss": _negative_log_likelihood,
}
_ROW_LOSSES = NativeFunction("row_losses", _arguments, _emit)

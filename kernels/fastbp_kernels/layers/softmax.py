"""Softmax and its logarithm over the features of each row; sums are in float64."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastbp_kernels.compiler.elementwise import VectorFunction, emit_fold, emit_loops
from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.pointers import Array, pointer
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.compiler.vectors import INT32, INT64, Vectors, vectors_of
from fastbp_kernels.functions.elementary import exp
from fastbp_kernels.functions.logarithm import log

_DOUBLE = ir.DoubleType()


@intrinsic
def softmax_rows(
    typing_context: Context, rows: types.Integer, features: types.Integer, x: types.CPointer, x_row: types.Integer,
    y: types.CPointer, y_row: types.Integer,
) -> Definition:  # fmt: skip
    """Write ``exp(x) / sum(exp(x))`` of each row to ``y``."""
    i = types.intp
    return types.void(i, i, x, i, x, i), _SOFTMAX.call(x)


@intrinsic
def log_softmax_rows(
    typing_context: Context, rows: types.Integer, features: types.Integer, x: types.CPointer, x_row: types.Integer,
    y: types.CPointer, y_row: types.Integer,
) -> Definition:  # fmt: skip
    """Write ``x - log(sum(exp(x)))`` of each row to ``y``."""
    i = types.intp
    return types.void(i, i, x, i, x, i), _LOG_SOFTMAX.call(x)


@intrinsic
def softmax_backward_rows(
    typing_context: Context, rows: types.Integer, features: types.Integer, grad: types.CPointer, y: types.CPointer,
    y_row: types.Integer, out: types.CPointer, out_row: types.Integer,
) -> Definition:  # fmt: skip
    """Write ``y * (grad - sum(grad * y))`` of each row to ``out``; ``grad`` has rows like ``y``."""
    i = types.intp
    return types.void(i, i, grad, grad, i, grad, i), _SOFTMAX_BACKWARD.call(grad)


@intrinsic
def log_softmax_backward_rows(
    typing_context: Context, rows: types.Integer, features: types.Integer, grad: types.CPointer, y: types.CPointer,
    y_row: types.Integer, out: types.CPointer, out_row: types.Integer,
) -> Definition:  # fmt: skip
    """Write ``grad - exp(y) * sum(grad)`` of each row to ``out``, which is neither; ``grad`` has rows like ``y``."""
    i = types.intp
    return types.void(i, i, grad, grad, i, grad, i), _LOG_SOFTMAX_BACKWARD.call(grad)


def _arguments(element: ir.Type) -> list[ir.Type]:
    return [INT64, INT64, element.as_pointer(), INT64, element.as_pointer(), INT64]


def _backward_arguments(element: ir.Type) -> list[ir.Type]:
    return [INT64, INT64, *[element.as_pointer()] * 2, INT64, element.as_pointer(), INT64]


def _emit_softmax(function: ir.Function, element: ir.Type) -> None:
    def row(v: Vectors, features: ir.Value, x: ir.Value, y: ir.Value) -> None:
        builder, most = v.builder, _most(v, features, x)
        emit_loops(v, lambda v, x: (exp(v, builder.fsub(x, most)),), features, [x], [y])
        total = _splat(v, _sum(v, lambda v, y: y, features, [y]))
        emit_loops(v, lambda v, y: (v.divide(y, total),), features, [y], [y])

    _emit_rows(function, element, row)


def _emit_log_softmax(function: ir.Function, element: ir.Type) -> None:
    def row(v: Vectors, features: ir.Value, x: ir.Value, y: ir.Value) -> None:
        builder, most = v.builder, _most(v, features, x)
        total = _sum(v, lambda v, x: exp(v, builder.fsub(x, most)), features, [x])
        pair = Vectors(builder, _DOUBLE, 2)  # few lanes: a number takes as long as a vector
        log_of_total = builder.extract_element(log(pair, pair.splat(total)), INT32(0))
        logarithm = _splat(v, log_of_total)
        emit_loops(v, lambda v, x: (builder.fsub(builder.fsub(x, most), logarithm),), features, [x], [y])

    _emit_rows(function, element, row)


def _emit_rows(
    function: ir.Function, element: ir.Type, emit: Callable[[Vectors, ir.Value, ir.Value, ir.Value], None]
) -> None:
    """Emit ``emit(v, features, x, y)`` for each row."""
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    rows, features, x, x_row, y, y_row = function.args
    with cgutils.for_range(builder, rows) as loop:
        x_now, y_now = (
            builder.gep(start, [builder.mul(loop.index, distance)]) for start, distance in ((x, x_row), (y, y_row))
        )
        emit(vectors_of(builder, element), features, x_now, y_now)
    builder.ret_void()


def _emit_softmax_backward(function: ir.Function, element: ir.Type) -> None:
    def row(v: Vectors, features: ir.Value, grad: ir.Value, y: ir.Value, out: ir.Value) -> None:
        b = v.builder
        total = _splat(v, _sum(v, lambda v, g, y: b.fmul(g, y), features, [grad, y]))
        emit_loops(v, lambda v, g, y: (b.fmul(y, b.fsub(g, total)),), features, [grad, y], [out])

    _emit_backward_rows(function, element, row)


def _emit_log_softmax_backward(function: ir.Function, element: ir.Type) -> None:
    def row(v: Vectors, features: ir.Value, grad: ir.Value, y: ir.Value, out: ir.Value) -> None:
        b = v.builder
        total = b.fneg(_splat(v, _sum(v, lambda v, g: g, features, [grad])))
        emit_loops(v, lambda v, g, y: (v.fma(exp(v, y), total, g),), features, [grad, y], [out])

    _emit_backward_rows(function, element, row)


def _emit_backward_rows(
    function: ir.Function, element: ir.Type, emit: Callable[[Vectors, ir.Value, ir.Value, ir.Value, ir.Value], None]
) -> None:
    """Emit ``emit(v, features, grad, y, out)`` for each row."""
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    rows, features, grad, y, y_row, out, out_row = function.args
    with cgutils.for_range(builder, rows) as loop:
        grad_now, y_now = (builder.gep(start, [builder.mul(loop.index, y_row)]) for start in (grad, y))
        out_now = builder.gep(out, [builder.mul(loop.index, out_row)])
        emit(vectors_of(builder, element), features, grad_now, y_now, out_now)
    builder.ret_void()


def _most(v: Vectors, features: ir.Value, x: ir.Value) -> ir.Value:
    """Return the largest number of a row in every lane; beside NaN any, for the exponentials tell of that."""
    lanes = emit_fold(v, lambda v, x: x, v.larger, v.constant(float("-inf")), features, [x])
    return v.splat(v.largest(lanes))


def _sum(v: Vectors, function: VectorFunction, features: ir.Value, inputs: Values) -> ir.Value:
    """Return the sum of ``function(v, *inputs)`` over a row in float64."""
    wide = Vectors(v.builder, _DOUBLE, v.lanes)
    terms = emit_fold(
        v, lambda v, *x: v.widened(function(v, *x)), v.builder.fadd, wide.constant(0.0), features, inputs
    )
    return wide.sum(terms)


def _splat(v: Vectors, number: ir.Value) -> ir.Value:
    """Return a number of float64 in every lane."""
    return v.narrowed(v.splat(number))


_SOFTMAX = NativeFunction("softmax", _arguments, _emit_softmax)
_LOG_SOFTMAX = NativeFunction("log_softmax", _arguments, _emit_log_softmax)
_SOFTMAX_BACKWARD = NativeFunction("softmax_backward", _backward_arguments, _emit_softmax_backward)
_LOG_SOFTMAX_BACKWARD = NativeFunction("log_softmax_backward", _backward_arguments, _emit_log_softmax_backward)

_forward = public_kernel(input=read("(n, i)"), output=written("(n, i)"))
_backward = public_kernel(grad_output=read("(n, i)"), output=read("(n, i)"), grad_input=written("(n, i)"))


@_forward
def softmax_forward(input: Array, output: Array) -> None:
    """Write ``exp(input) / sum(exp(input))`` of each row to ``output``."""
    n, i = input.shape
    softmax_rows(n, i, pointer(input), i, pointer(output), i)


@_backward
def softmax_backward(grad_output: Array, output: Array, grad_input: Array) -> None:
    """Write ``output * (grad_output - sum(grad_output * output))`` of each row to ``grad_input``."""
    n, i = output.shape
    softmax_backward_rows(n, i, pointer(grad_output), pointer(output), i, pointer(grad_input), i)


@_forward
def log_softmax_forward(input: Array, output: Array) -> None:
    """Write ``input - log(sum(exp(input)))`` of each row to ``output``."""
    n, i = input.shape
    log_softmax_rows(n, i, pointer(input), i, pointer(output), i)


@_backward
def log_softmax_backward(grad_output: Array, output: Array, grad_input: Array) -> None:
    """Write ``grad_output - exp(output) * sum(grad_output)`` of each row to ``grad_input``, an array of its own."""
    n, i = output.shape
    log_softmax_backward_rows(n, i, pointer(grad_output), pointer(output), i, pointer(grad_input), i)

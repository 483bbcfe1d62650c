"""Softmax and its logarithm over the features of each row; sums are in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.elementwise import VectorFunction, emit_fold, emit_loops
from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, shift
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.compiler.vectors import INT32, INT64, Vectors, vectors_of
from fastbp_kernels.functions.elementary import exp, exp_of_less
from fastbp_kernels.functions.logarithm import log
from fastbp_kernels.layers.call import LayerCall, grad_rows
from fastbp_kernels.layers.table import OUT, X_ROW, Y_ROW, Y

_DOUBLE = ir.DoubleType()
_GROUP = 4  # vectors of a row at once: what they do not wait for of each other keeps the CPU busy


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
    """Emit a loop for rows of a vector at most, which stay in registers, and one for longer rows."""
    b = ir.IRBuilder(function.append_basic_block("entry"))
    rows, features, x, x_row, y, y_row = function.args
    v = vectors_of(b, element)
    with b.if_else(b.icmp_signed(">", features, INT64(v.lanes))) as (longer, shorter):
        with longer, cgutils.for_range(b, rows) as loop:
            _emit_row(v, features, _row(b, x, x_row, loop.index), _row(b, y, y_row, loop.index))
        with shorter:
            mask = v.first_lanes(features)
            with cgutils.for_range(b, rows) as loop:
                numbers = v.masked_load(_row(b, x, x_row, loop.index), mask)
                v.masked_store(_softmax_of_lanes(v, mask, numbers), _row(b, y, y_row, loop.index), mask)
    b.ret_void()


def _emit_row(v: Vectors, features: ir.Value, x: ir.Value, y: ir.Value) -> None:
    total = _sum_of_exponentials(v, features, x, _most(v, features, x), y)
    share = _splat(v, v.builder.fdiv(_DOUBLE(1.0), total))
    emit_loops(v, lambda v, y: (v.builder.fmul(y, share),), features, [y], [y])


def _softmax_of_lanes(v: Vectors, mask: ir.Value, x: ir.Value) -> ir.Value:
    b = v.builder
    most = v.splat(v.largest(b.select(mask, x, v.constant(float("-inf")))))
    terms = b.select(mask, exp_of_less(v, b.fsub(x, most)), v.constant(0.0))
    total = Vectors(b, _DOUBLE, v.lanes).sum(v.widened(terms))
    return b.fmul(terms, _splat(v, b.fdiv(_DOUBLE(1.0), total)))


def _row(b: ir.IRBuilder, start: ir.Value, distance: ir.Value, row: ir.Value) -> ir.Value:
    return b.gep(start, [b.mul(row, distance)])


def _emit_log_softmax(function: ir.Function, element: ir.Type) -> None:
    """Emit blocks of rows, so that one vector takes the logarithms of all their sums."""
    b = ir.IRBuilder(function.append_basic_block("entry"))
    rows, features, x, x_row, y, y_row = function.args
    v, sums = vectors_of(b, element), vectors_of(b, _DOUBLE)
    block = INT64(sums.lanes)
    largest = cgutils.alloca_once(b, ir.ArrayType(element, sums.lanes))
    totals = cgutils.alloca_once(b, ir.ArrayType(_DOUBLE, sums.lanes))
    with cgutils.for_range_slice(b, INT64(0), rows, block, inc=True) as (first, _):
        left = b.sub(rows, first)
        count = b.select(b.icmp_signed("<", left, block), left, block)
        sums.store(sums.constant(1.0), totals)
        with cgutils.for_range(b, count) as loop:
            x_now = _row(b, x, x_row, b.add(first, loop.index))
            most = _most(v, features, x_now)
            b.store(b.extract_element(most, INT32(0)), b.gep(largest, [INT32(0), loop.index]))
            b.store(_sum_of_exponentials(v, features, x_now, most), b.gep(totals, [INT32(0), loop.index]))
        sums.store(log(sums, sums.load(totals)), totals)
        with cgutils.for_range(b, count) as loop:
            most = v.splat(b.load(b.gep(largest, [INT32(0), loop.index])))
            logarithm = _splat(v, b.load(b.gep(totals, [INT32(0), loop.index])))
            row = b.add(first, loop.index)
            emit_loops(v, _less(most, logarithm), features, [_row(b, x, x_row, row)], [_row(b, y, y_row, row)])
    b.ret_void()


def _less(most: ir.Value, logarithm: ir.Value) -> Callable[..., Sequence[ir.Value]]:
    """Return what takes both from vectors."""
    return lambda v, x: (v.builder.fsub(v.builder.fsub(x, most), logarithm),)


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
    least = v.constant(float("-inf"))
    most = cgutils.alloca_once_value(v.builder, least)

    def larger(index: ir.Value, mask: ir.Value | None, numbers: Values) -> None:
        masked = numbers if mask is None else [v.builder.select(mask, number, least) for number in numbers]
        v.builder.store(v.larger(v.builder.load(most), _tree(v.larger, masked)), most)

    _emit_groups(v, features, x, larger)
    return v.splat(v.largest(v.builder.load(most)))


def _sum_of_exponentials(
    v: Vectors, features: ir.Value, x: ir.Value, most: ir.Value, y: ir.Value | None = None
) -> ir.Value:
    """Return the sum of exp(x - most) over a row in float64, and write the terms to ``y`` if there is one.

    Those of a group are added in their own type first, since widening takes as long as four additions.
    """
    b, wide = v.builder, Vectors(v.builder, _DOUBLE, v.lanes)
    total = cgutils.alloca_once_value(b, wide.constant(0.0))

    def add(index: ir.Value, mask: ir.Value | None, numbers: Values) -> None:
        terms = [exp_of_less(v, b.fsub(number, most)) for number in numbers]
        if mask is not None:
            terms = [b.select(mask, term, v.constant(0.0)) for term in terms]
        for position, term in enumerate(terms if y is not None else ()):
            place = b.gep(y, [b.add(index, INT64(position * v.lanes))])
            v.store(term, place) if mask is None else v.masked_store(term, place, mask)
        b.store(b.fadd(b.load(total), v.widened(_tree(b.fadd, terms))), total)

    _emit_groups(v, features, x, add)
    return wide.sum(b.load(total))


def _emit_groups(
    v: Vectors, count: ir.Value, x: ir.Value, emit: Callable[[ir.Value, ir.Value | None, Values], None]
) -> None:
    """Emit ``emit(index, mask, numbers)`` for ``_GROUP`` vectors at a time with no mask, then for the others singly."""
    b, size = v.builder, INT64(_GROUP * v.lanes)
    grouped = b.sub(count, b.srem(count, size))
    with cgutils.for_range_slice(b, INT64(0), grouped, size, inc=True) as (index, _):
        places = [b.gep(x, [b.add(index, INT64(position * v.lanes))]) for position in range(_GROUP)]
        emit(index, None, [v.load(place) for place in places])
    with cgutils.for_range_slice(b, grouped, count, INT64(v.lanes), inc=True) as (index, _):
        mask = v.first_lanes(b.sub(count, index))
        emit(index, mask, [v.masked_load(b.gep(x, [index]), mask)])


def _tree(combine: Callable[[ir.Value, ir.Value], ir.Value], values: Values) -> ir.Value:
    """Combine neighbours until one is left, which is no long chain."""
    while len(values) > 1:
        values = [combine(*pair) for pair in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def _sum(v: Vectors, function: VectorFunction, features: ir.Value, inputs: Values) -> ir.Value:
    """Return the sum of ``function(v, *inputs)`` over a row in float64."""
    wide = Vectors(v.builder, _DOUBLE, v.lanes)
    terms = emit_fold(v, lambda v, *x: v.widened(function(v, *x)), v.builder.fadd, wide.constant(0.0), features, inputs)
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


def softmax_layer_forward(layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, y: Pointer) -> None:
    """Compute the outputs of the call's rows."""
    softmax_rows(call.rows, layers[layer, OUT], x, x_row, y, layers[layer, Y_ROW])


def softmax_layer_backward(layers: Array, layer: int, call: LayerCall, grad_x: Pointer) -> None:
    """Write the gradient of the inputs of the call's rows."""
    y_row = layers[layer, Y_ROW]
    y = shift(call.scratch, layers[layer, Y] + call.first_row * y_row)
    g = grad_rows(layers, layer, call)
    softmax_backward_rows(call.rows, layers[layer, OUT], g, y, y_row, grad_x, layers[layer, X_ROW])


def log_softmax_layer_forward(layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, y: Pointer) -> None:
    """Compute the outputs of the call's rows."""
    log_softmax_rows(call.rows, layers[layer, OUT], x, x_row, y, layers[layer, Y_ROW])


def log_softmax_layer_backward(layers: Array, layer: int, call: LayerCall, grad_x: Pointer) -> None:
    """Write the gradient of the inputs of the call's rows."""
    y_row = layers[layer, Y_ROW]
    y = shift(call.scratch, layers[layer, Y] + call.first_row * y_row)
    g = grad_rows(layers, layer, call)
    log_softmax_backward_rows(call.rows, layers[layer, OUT], g, y, y_row, grad_x, layers[layer, X_ROW])

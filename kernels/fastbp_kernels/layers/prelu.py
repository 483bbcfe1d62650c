"""PReLU: the rectifier whose slope below zero is trained.

He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", 2015, in the form of ``torch.nn.PReLU``::

    y = x where x > 0, else slope * x        grad_slope = sum of (0 where x > 0, else grad * x)

There is one slope for all features, or one for each.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.elementwise import elementwise2, emit_loops, zero_loop
from fastbp_kernels.compiler.intrinsics import Context, Definition, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, shift
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.compiler.vectors import INT64, Vectors, vectors_of
from fastbp_kernels.functions.losses.kernels import SLAB
from fastbp_kernels.layers.call import LayerCall, grad_rows
from fastbp_kernels.layers.table import OUT, SAVED, SAVED_ROW, TRAINED, WEIGHT, X_ROW, Y_ROW, G, X
from fastbp_kernels.linalg.column_sums import add_column_sums
from fastbp_kernels.linalg.product import K_BLOCK
from fastbp_kernels.parallel.partition import rank_range


@intrinsic
def prelu_rows(
    typing_context: Context, rows: types.Integer, features: types.Integer, slopes: types.CPointer, each: types.Integer,
    values: types.CPointer, value_row: types.Integer, x: types.CPointer, x_row: types.Integer, out: types.CPointer,
    out_row: types.Integer,
) -> Definition:  # fmt: skip
    """Write ``values`` where ``x > 0``, else ``slope * values``: outputs of inputs, or gradients of gradients.

    ``each`` is 1 for a slope for each feature, 0 for one for all.
    """
    i = types.intp
    return types.void(i, i, x, i, x, i, x, i, x, i), _PRELU.call(x)


def _arguments(element: ir.Type) -> list[ir.Type]:
    p = element.as_pointer()
    return [INT64, INT64, p, INT64, p, INT64, p, INT64, p, INT64]


def _emit(function: ir.Function, element: ir.Type) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    rows, features, slopes, each, values, value_row, x, x_row, out, out_row = function.args
    v = vectors_of(builder, element)
    first = v.splat(builder.load(slopes))

    def times_slope(v: Vectors, value: ir.Value, x: ir.Value, slope: ir.Value = first) -> tuple[ir.Value]:
        return (builder.select(_is_above_zero(v, x), value, builder.fmul(slope, value)),)

    with cgutils.for_range(builder, rows) as loop:
        inputs = [builder.gep(p, [builder.mul(loop.index, size)]) for p, size in ((values, value_row), (x, x_row))]
        out_now = builder.gep(out, [builder.mul(loop.index, out_row)])
        with builder.if_else(builder.icmp_signed("==", each, INT64(0))) as (one, several):
            with one:
                emit_loops(v, times_slope, features, inputs, [out_now])
            with several:
                emit_loops(v, times_slope, features, [*inputs, slopes], [out_now])
    builder.ret_void()


def _is_above_zero(v: Vectors, x: ir.Value) -> ir.Value:
    return v.builder.fcmp_ordered(">", x, v.constant(0.0))


_PRELU = NativeFunction("prelu", _arguments, _emit)

# Of a gradient and x: not grad * min(x, 0), which would make NaN of an infinite gradient above zero.
_slope_terms = elementwise2(
    lambda v, grad, x: v.builder.select(_is_above_zero(v, x), v.constant(0.0), v.builder.fmul(grad, x))
)


@inner_kernel
def add_slope_gradients(
    rows: int, features: int, each: bool, grad: Pointer, grad_row: int, x: Pointer, x_row: int, terms: Pointer,
    sums: Pointer, out: Pointer,
) -> None:  # fmt: skip
    """Add the gradient of the slope of each feature, or of the one slope, to ``out``.

    ``terms`` has rows like ``grad``, and ``sums`` takes a number for each feature; both are written over.
    """
    for row in range(rows):
        _slope_terms(features, shift(grad, row * grad_row), shift(x, row * x_row), shift(terms, row * grad_row))
    if each:
        add_column_sums(rows, features, terms, grad_row, out)
        return
    for first in range(0, rows, K_BLOCK):  # as column sums are: the same bits, whatever blocks the rows come in
        zero_loop(features, sums)
        add_column_sums(min(K_BLOCK, rows - first), features, shift(terms, first * grad_row), grad_row, sums)
        total = 0.0
        for k in range(features):
            total += sums[k]
        sums[0] = total
        out[0] += sums[0]


@public_kernel(input=read("(n, i)"), weight=read("(s,)"), output=written("(n, i)"))
def prelu_forward(input: Array, weight: Array, output: Array) -> None:
    """Write ``input`` where it is above 0, else ``weight * input``, to ``output``.

    Parameters
    ----------
    input : array of shape (n, i), read
    weight : array of shape (1,) or (i,), read
    output : array of shape (n, i), written
    """
    if input.size:
        n, i = input.shape
        each = 1 if weight.size > 1 else 0
        prelu_rows(n, i, pointer(weight), each, pointer(input), i, pointer(input), i, pointer(output), i)


@public_kernel(grad_output=read("(n, i)"), input=read("(n, i)"), weight=read("(s,)"), grad_input=written("(n, i)"))
def prelu_backward(grad_output: Array, input: Array, weight: Array, grad_input: Array) -> None:
    """Write the gradient with respect to the ``input`` of ``prelu_forward`` to ``grad_input``."""
    if input.size:
        n, i = input.shape
        each = 1 if weight.size > 1 else 0
        prelu_rows(n, i, pointer(weight), each, pointer(grad_output), i, pointer(input), i, pointer(grad_input), i)


@public_kernel(
    grad_output=read("(n, i)"), input=read("(n, i)"), terms=written("(n, i)"), sums=written("(i,)"),
    grad_weight=written("(s,)"),
)  # fmt: skip
def prelu_backward_parameters(grad_output: Array, input: Array, terms: Array, sums: Array, grad_weight: Array) -> None:
    """Add the gradient with respect to the weight of ``prelu_forward`` to ``grad_weight``, (1,) or (i,).

    ``terms`` (n, i) and ``sums`` (i,) are room to compute in.
    """
    if input.size:
        n, i = input.shape
        add_slope_gradients(
            n, i, grad_weight.size > 1, pointer(grad_output), i, pointer(input), i, pointer(terms), pointer(sums),
            pointer(grad_weight),
        )  # fmt: skip


def layer_forward(layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, y: Pointer) -> None:
    """Compute the outputs of the call's rows."""
    slopes, each = shift(call.parameter, layers[layer, WEIGHT]), 1 if call.scalars[0] > 0 else 0
    prelu_rows(call.rows, layers[layer, OUT], slopes, each, x, x_row, x, x_row, y, layers[layer, Y_ROW])


def layer_backward(layers: Array, layer: int, call: LayerCall, grad_x: Pointer) -> None:
    """Write the gradient of the inputs of the call's rows."""
    x_row, slopes = layers[layer, X_ROW], shift(call.parameter, layers[layer, WEIGHT])
    x, each = shift(call.scratch, layers[layer, X] + call.first_row * x_row), 1 if call.scalars[0] > 0 else 0
    g = grad_rows(layers, layer, call)
    prelu_rows(call.rows, layers[layer, OUT], slopes, each, g, layers[layer, Y_ROW], x, x_row, grad_x, x_row)


def layer_gradients(
    layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, grad: Pointer, rank: int, ranks: int
) -> None:
    """Add the gradients of this rank's slopes, where they are trained; that of a single one is rank 0's."""
    each = call.scalars[0] > 0
    first, stop = 0, 0
    if each:
        first, stop = rank_range(layers[layer, OUT], SLAB, rank, ranks)
    elif rank == 0:
        stop = layers[layer, OUT]
    if layers[layer, TRAINED] and first < stop:
        add_slope_gradients(
            call.rows, stop - first, each, shift(call.scratch, layers[layer, G] + first), layers[layer, Y_ROW],
            shift(x, first), x_row, shift(call.scratch, layers[layer, SAVED] + first),
            shift(call.scratch, layers[layer, SAVED_ROW]), shift(grad, layers[layer, WEIGHT] + first),
        )  # fmt: skip

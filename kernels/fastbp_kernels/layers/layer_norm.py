"""Layer normalisation: each row less its mean and over its standard deviation.

Ba, Kiros and Hinton, "Layer Normalization", 2016, in the form of ``torch.nn.LayerNorm``::

    normalized = (x - mean(x)) * rstd        rstd = 1 / sqrt(mean((x - mean(x))**2) + eps)
    y          = normalized * weight + bias
"""

from __future__ import annotations

from functools import partial

from llvmlite import ir
from numba import types

from fastbp_kernels.compiler.elementwise import VectorFunction, emit_loops, emit_sum
from fastbp_kernels.compiler.intrinsics import Context, Definition, Values, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.numba_internals import cgutils
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, shift
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.compiler.vectors import INT64, Vectors, vectors_of
from fastbp_kernels.layers.call import LayerCall, grad_rows, saved_rows
from fastbp_kernels.layers.table import BIAS, OUT, SAVED_ROW, WEIGHT, X_ROW, Y_ROW
from fastbp_kernels.linalg.column_sums import add_column_product_sums, add_column_sums


@intrinsic
def layer_norm_rows(
    typing_context: Context, rows: types.Integer, features: types.Integer, x: types.CPointer, x_row: types.Integer,
    parameters: types.Integer, weight: types.CPointer, bias: types.CPointer, eps: types.Float,
    normalized: types.CPointer, rstd: types.CPointer, y: types.CPointer, y_row: types.Integer,
) -> Definition:  # fmt: skip
    """Normalise ``rows`` rows of ``x``.

    ``parameters`` are how many there are: 0, 1 (``weight``) or 2 (``bias`` too). ``normalized`` has rows like ``y``;
    ``rstd`` takes a number a row.
    """
    i = types.intp
    signature = types.void(i, i, x, i, i, x, x, x.dtype, x, x, x, i)
    return signature, _FORWARD.call(x)


@intrinsic
def layer_norm_backward_rows(
    typing_context: Context, rows: types.Integer, features: types.Integer, grad: types.CPointer,
    grad_row: types.Integer, parameters: types.Integer, weight: types.CPointer, normalized: types.CPointer,
    rstd: types.CPointer, out: types.CPointer, out_row: types.Integer,
) -> Definition:  # fmt: skip
    """Write to ``out`` the gradient of ``x`` for that of ``y``, ``grad``, whose rows lie like ``normalized``'s."""
    i = types.intp
    return types.void(i, i, grad, i, i, grad, grad, grad, grad, i), _BACKWARD.call(grad)


def forward_arguments(element: ir.Type) -> list[ir.Type]:
    """Return the LLVM types of what ``layer_norm_rows`` takes."""
    p = element.as_pointer()
    return [INT64, INT64, p, INT64, INT64, p, p, element, p, p, p, INT64]


def emit_forward(centres: bool, function: ir.Function, element: ir.Type) -> None:
    """Write the body of a normalisation; rows keep their mean where it does not ``centre`` them."""
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    rows, features, x, x_row, parameters, weight, bias, eps, normalized, rstd, y, y_row = function.args
    v = vectors_of(builder, element)
    count = builder.sitofp(features, element)
    with cgutils.for_range(builder, rows) as loop:
        x_now = builder.gep(x, [builder.mul(loop.index, x_row)])
        n_now, y_now = (builder.gep(start, [builder.mul(loop.index, y_row)]) for start in (normalized, y))
        mean = v.splat(builder.fdiv(emit_sum(v, lambda v, x: x, features, [x_now]), count)) if centres else None

        def squared(v: Vectors, x: ir.Value) -> ir.Value:
            centred = _less(v, x, mean)
            return builder.fmul(centred, centred)

        variance = builder.fdiv(emit_sum(v, squared, features, [x_now]), count)
        inverse = builder.fdiv(ir.Constant(element, 1.0), v.scalar_sqrt(builder.fadd(variance, eps)))
        builder.store(inverse, builder.gep(rstd, [loop.index]))
        scale = v.splat(inverse)
        for number, affine in enumerate(_AFFINE):
            outcome = partial(_normalized_and, affine, mean, scale)
            with builder.if_then(builder.icmp_signed("==", parameters, INT64(number))):
                emit_loops(v, outcome, features, [x_now, *(weight, bias)[:number]], [n_now, y_now])
    builder.ret_void()


def _less(v: Vectors, x: ir.Value, mean: ir.Value | None) -> ir.Value:
    return x if mean is None else v.builder.fsub(x, mean)


def _normalized_and(
    affine: VectorFunction, mean: ir.Value | None, scale: ir.Value, v: Vectors, x: ir.Value, *parameters: ir.Value
) -> Values:
    n = v.builder.fmul(_less(v, x, mean), scale)
    return [n, affine(v, n, *parameters)]


def _copied(v: Vectors, n: ir.Value) -> ir.Value:
    return n


def _weighted(v: Vectors, n: ir.Value, weight: ir.Value) -> ir.Value:
    return v.builder.fmul(n, weight)


def _weighted_and_shifted(v: Vectors, n: ir.Value, weight: ir.Value, bias: ir.Value) -> ir.Value:
    return v.fma(n, weight, bias)


_AFFINE: tuple[VectorFunction, ...] = (_copied, _weighted, _weighted_and_shifted)  # by the number of parameters


def backward_arguments(element: ir.Type) -> list[ir.Type]:
    """Return those of what ``layer_norm_backward_rows`` takes."""
    p = element.as_pointer()
    return [INT64, INT64, p, INT64, INT64, p, p, p, p, INT64]


def emit_backward(centres: bool, function: ir.Function, element: ir.Type) -> None:
    """Write the body of its backward."""
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    rows, features, grad, grad_row, parameters, weight, normalized, rstd, out, out_row = function.args
    v = vectors_of(builder, element)
    count = builder.sitofp(features, element)
    with cgutils.for_range(builder, rows) as loop:
        grad_now, n_now = (builder.gep(start, [builder.mul(loop.index, grad_row)]) for start in (grad, normalized))
        out_now = builder.gep(out, [builder.mul(loop.index, out_row)])
        scale = v.splat(builder.load(builder.gep(rstd, [loop.index])))

        def emit(inputs: Values) -> None:
            def of_normalized(g: ir.Value, w: tuple[ir.Value, ...]) -> ir.Value:
                return builder.fmul(g, w[0]) if w else g

            total = emit_sum(v, lambda v, n, g, *w: of_normalized(g, w), features, inputs) if centres else None
            product = emit_sum(v, lambda v, n, g, *w: builder.fmul(of_normalized(g, w), n), features, inputs)
            mean = None if total is None else v.splat(builder.fdiv(total, count))
            slope = v.splat(builder.fdiv(product, count))

            def grad_x(v: Vectors, n: ir.Value, g: ir.Value, *w: ir.Value) -> tuple[ir.Value]:
                centred = _less(v, of_normalized(g, w), mean)
                return (builder.fmul(scale, builder.fsub(centred, builder.fmul(n, slope))),)

            emit_loops(v, grad_x, features, inputs, [out_now])

        with builder.if_else(builder.icmp_signed("==", parameters, INT64(0))) as (without, with_weight):
            with without:
                emit([n_now, grad_now])
            with with_weight:
                emit([n_now, grad_now, weight])
    builder.ret_void()


_FORWARD = NativeFunction("layer_norm", forward_arguments, partial(emit_forward, True))
_BACKWARD = NativeFunction("layer_norm_backward", backward_arguments, partial(emit_backward, True))


@public_kernel(
    input=read("(n, i)"), weight=read("(i,)", or_empty=True), bias=read("(i,)", or_empty=True),
    normalized=written("(n, i)"), rstd=written("(n,)"), output=written("(n, i)"),
)  # fmt: skip
def layer_norm_forward(
    input: Array, weight: Array, bias: Array, eps: float, normalized: Array, rstd: Array, output: Array
) -> None:
    """Write the normalised rows of ``input``, times ``weight``, plus ``bias``, to ``output``.

    Parameters
    ----------
    input : array of shape (n, i), read
    weight, bias : array of shape (i,), read, or (0,) for none
    eps : scalar of the arrays' dtype
    normalized : array of shape (n, i), written
        The rows before ``weight`` and ``bias``; ``layer_norm_backward`` needs them.
    rstd : array of shape (n,), written
        1 / sqrt(variance + eps) of each row, for the same.
    output : array of shape (n, i), written
    """
    n, i = input.shape
    parameters = (1 if weight.size else 0) + (1 if bias.size else 0)
    layer_norm_rows(
        n, i, pointer(input), i, parameters, pointer(weight), pointer(bias), eps, pointer(normalized), pointer(rstd),
        pointer(output), i,
    )  # fmt: skip


@public_kernel(
    grad_output=read("(n, i)"), weight=read("(i,)", or_empty=True), normalized=read("(n, i)"), rstd=read("(n,)"),
    grad_input=written("(n, i)"),
)  # fmt: skip
def layer_norm_backward(grad_output: Array, weight: Array, normalized: Array, rstd: Array, grad_input: Array) -> None:
    """Write the gradient with respect to the input of ``layer_norm_forward`` to ``grad_input``."""
    n, i = grad_output.shape
    parameters = 1 if weight.size else 0
    layer_norm_backward_rows(
        n, i, pointer(grad_output), i, parameters, pointer(weight), pointer(normalized), pointer(rstd),
        pointer(grad_input), i,
    )  # fmt: skip


@public_kernel(
    grad_output=read("(n, i)"),
    normalized=read("(n, i)"),
    grad_weight=written("(i,)", or_empty=True),
    grad_bias=written("(i,)", or_empty=True),
)
def layer_norm_backward_parameters(grad_output: Array, normalized: Array, grad_weight: Array, grad_bias: Array) -> None:
    """Add the gradients with respect to weight and bias to ``grad_weight`` and ``grad_bias``, each (i,) or (0,)."""
    n, i = grad_output.shape
    if grad_weight.size:
        add_column_product_sums(n, i, pointer(grad_output), pointer(normalized), i, pointer(grad_weight))
    if grad_bias.size:
        add_column_sums(n, i, pointer(grad_output), i, pointer(grad_bias))


def layer_forward(layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, y: Pointer) -> None:
    """Normalise the call's rows."""
    weight, bias = layers[layer, WEIGHT], layers[layer, BIAS]
    layer_norm_rows(
        call.rows, layers[layer, OUT], x, x_row, (1 if weight >= 0 else 0) + (1 if bias >= 0 else 0),
        shift(call.parameter, max(weight, 0)), shift(call.parameter, max(bias, 0)), call.scalars[0],
        saved_rows(layers, layer, call), shift(call.scratch, layers[layer, SAVED_ROW] + call.first_row), y,
        layers[layer, Y_ROW],
    )  # fmt: skip


def layer_backward(layers: Array, layer: int, call: LayerCall, grad_x: Pointer) -> None:
    """Write the gradient of the inputs of the call's rows."""
    weight = layers[layer, WEIGHT]
    layer_norm_backward_rows(
        call.rows, layers[layer, OUT], grad_rows(layers, layer, call), layers[layer, Y_ROW], 1 if weight >= 0 else 0,
        shift(call.parameter, max(weight, 0)), saved_rows(layers, layer, call),
        shift(call.scratch, layers[layer, SAVED_ROW] + call.first_row), grad_x, layers[layer, X_ROW],
    )  # fmt: skip

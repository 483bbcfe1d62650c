"""Root mean square normalisation: each row over the root of the mean of its squares.

Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, in the form of ``torch.nn.RMSNorm``::

    normalized = x * rstd        rstd = 1 / sqrt(mean(x**2) + eps)
    y          = normalized * weight
"""

from __future__ import annotations

from functools import partial

from numba import types

from fastbp_kernels.compiler.intrinsics import Context, Definition, intrinsic
from fastbp_kernels.compiler.native import NativeFunction
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, shift
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.layers.call import LayerCall, grad_rows, saved_rows
from fastbp_kernels.layers.layer_norm import backward_arguments, emit_backward, emit_forward, forward_arguments
from fastbp_kernels.layers.table import OUT, SAVED_ROW, WEIGHT, X_ROW, Y_ROW


@intrinsic
def rms_norm_rows(
    typing_context: Context, rows: types.Integer, features: types.Integer, x: types.CPointer, x_row: types.Integer,
    parameters: types.Integer, weight: types.CPointer, bias: types.CPointer, eps: types.Float,
    normalized: types.CPointer, rstd: types.CPointer, y: types.CPointer, y_row: types.Integer,
) -> Definition:  # fmt: skip
    """Normalise ``rows`` rows of ``x``, as ``layer_norm_rows`` does; ``parameters`` are 0 or 1, ``bias`` is unused."""
    i = types.intp
    return types.void(i, i, x, i, i, x, x, x.dtype, x, x, x, i), _FORWARD.call(x)


@intrinsic
def rms_norm_backward_rows(
    typing_context: Context, rows: types.Integer, features: types.Integer, grad: types.CPointer,
    grad_row: types.Integer, parameters: types.Integer, weight: types.CPointer, normalized: types.CPointer,
    rstd: types.CPointer, out: types.CPointer, out_row: types.Integer,
) -> Definition:  # fmt: skip
    """Write to ``out`` the gradient of ``x`` for that of ``y``, ``grad``, whose rows lie like ``normalized``'s."""
    i = types.intp
    return types.void(i, i, grad, i, i, grad, grad, grad, grad, i), _BACKWARD.call(grad)


_FORWARD = NativeFunction("rms_norm", forward_arguments, partial(emit_forward, False))
_BACKWARD = NativeFunction("rms_norm_backward", backward_arguments, partial(emit_backward, False))


@public_kernel(
    input=read("(n, i)"), weight=read("(i,)", or_empty=True), normalized=written("(n, i)"), rstd=written("(n,)"),
    output=written("(n, i)"),
)  # fmt: skip
def rms_norm_forward(
    input: Array, weight: Array, eps: float, normalized: Array, rstd: Array, output: Array
) -> None:  # fmt: skip
    """Write the normalised rows of ``input``, times ``weight``, to ``output``.

    Parameters
    ----------
    input : array of shape (n, i), read
    weight : array of shape (i,), read, or (0,) for none
    eps : scalar of the arrays' dtype
    normalized : array of shape (n, i), written
        The rows before ``weight``; ``rms_norm_backward`` needs them, and ``layer_norm_backward_parameters``, which
        adds the gradient of the weight.
    rstd : array of shape (n,), written
        1 / sqrt(mean of squares + eps) of each row, for the same.
    output : array of shape (n, i), written
    """
    n, i = input.shape
    rms_norm_rows(
        n, i, pointer(input), i, 1 if weight.size else 0, pointer(weight), pointer(weight), eps, pointer(normalized),
        pointer(rstd), pointer(output), i,
    )  # fmt: skip


@public_kernel(
    grad_output=read("(n, i)"), weight=read("(i,)", or_empty=True), normalized=read("(n, i)"), rstd=read("(n,)"),
    grad_input=written("(n, i)"),
)  # fmt: skip
def rms_norm_backward(grad_output: Array, weight: Array, normalized: Array, rstd: Array, grad_input: Array) -> None:
    """Write the gradient with respect to the input of ``rms_norm_forward`` to ``grad_input``."""
    n, i = grad_output.shape
    rms_norm_backward_rows(
        n, i, pointer(grad_output), i, 1 if weight.size else 0, pointer(weight), pointer(normalized), pointer(rstd),
        pointer(grad_input), i,
    )  # fmt: skip


def layer_forward(layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, y: Pointer) -> None:
    """Normalise the call's rows."""
    own = layers[layer, WEIGHT]
    weight = shift(call.parameter, max(own, 0))
    rms_norm_rows(
        call.rows, layers[layer, OUT], x, x_row, 1 if own >= 0 else 0, weight, weight, call.scalars[0],
        saved_rows(layers, layer, call), shift(call.scratch, layers[layer, SAVED_ROW] + call.first_row), y,
        layers[layer, Y_ROW],
    )  # fmt: skip


def layer_backward(layers: Array, layer: int, call: LayerCall, grad_x: Pointer) -> None:
    """Write the gradient of the inputs of the call's rows."""
    own = layers[layer, WEIGHT]
    rms_norm_backward_rows(
        call.rows, layers[layer, OUT], grad_rows(layers, layer, call), layers[layer, Y_ROW], 1 if own >= 0 else 0,
        shift(call.parameter, max(own, 0)), saved_rows(layers, layer, call),
        shift(call.scratch, layers[layer, SAVED_ROW] + call.first_row), grad_x, layers[layer, X_ROW],
    )  # fmt: skip

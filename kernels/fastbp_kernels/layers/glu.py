"""The gated linear unit: one half of a row, times the sigmoid of the other.

Dauphin, Fan, Auli and Grangier, "Language Modeling with Gated Convolutional Networks", 2017, in the form of
``torch.nn.GLU``::

    y = a * s    for x = (a, b) and s = sigmoid(b)        grad_a = grad * s        grad_b = grad * a * s * (1 - s)
"""

from __future__ import annotations

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.elementwise import elementwise2, multiply_loop
from fastbp_kernels.compiler.pointers import Array, Pointer, pointer, shift
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.functions.activations import ACTIVATION_CODES, activate
from fastbp_kernels.layers.call import LayerCall, grad_rows
from fastbp_kernels.layers.table import OUT, X_ROW, Y_ROW, X

_SIGMOID = ACTIVATION_CODES["Sigmoid"]

# Of a and s.
_slope = elementwise2(
    lambda v, a, s: v.builder.fmul(a, v.builder.fmul(s, v.builder.fsub(v.constant(1.0), s)))
)  # fmt: skip


@inner_kernel
def glu_rows(rows: int, o: int, x: Pointer, x_row: int, y: Pointer, y_row: int) -> None:
    """Compute ``rows`` rows of ``o`` outputs of rows of ``2 * o`` inputs."""
    for row in range(rows):
        own, out = shift(x, row * x_row), shift(y, row * y_row)
        activate(_SIGMOID, o, shift(own, o), out, own)
        multiply_loop(o, own, out, out)


@inner_kernel
def glu_backward_rows(
    rows: int, o: int, grad: Pointer, grad_row: int, x: Pointer, x_row: int, out: Pointer, out_row: int
) -> None:
    """Write the gradient of rows of inputs to ``out``, which overlaps nothing else."""
    for row in range(rows):
        g, own, grad_a = shift(grad, row * grad_row), shift(x, row * x_row), shift(out, row * out_row)
        grad_b = shift(grad_a, o)
        activate(_SIGMOID, o, shift(own, o), grad_b, own)
        multiply_loop(o, g, grad_b, grad_a)
        _slope(o, own, grad_b, grad_b)
        multiply_loop(o, g, grad_b, grad_b)


@public_kernel(input=read("(n, i)"), output=written("(n, o)"))
def glu_forward(input: Array, output: Array) -> None:
    """Write the first half of each row of ``input`` times the sigmoid of the second to ``output``; i is 2 * o."""
    n, o = output.shape
    glu_rows(n, o, pointer(input), 2 * o, pointer(output), o)


@public_kernel(grad_output=read("(n, o)"), input=read("(n, i)"), grad_input=written("(n, i)"))
def glu_backward(grad_output: Array, input: Array, grad_input: Array) -> None:
    """Write the gradient with respect to ``input`` of ``glu_forward`` to ``grad_input``, an array of its own."""
    n, o = grad_output.shape
    glu_backward_rows(n, o, pointer(grad_output), o, pointer(input), 2 * o, pointer(grad_input), 2 * o)


def layer_forward(layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, y: Pointer) -> None:
    """Compute the outputs of the call's rows."""
    glu_rows(call.rows, layers[layer, OUT], x, x_row, y, layers[layer, Y_ROW])


def layer_backward(layers: Array, layer: int, call: LayerCall, grad_x: Pointer) -> None:
    """Write the gradient of the inputs of the call's rows."""
    x_row = layers[layer, X_ROW]
    x = shift(call.scratch, layers[layer, X] + call.first_row * x_row)
    glu_backward_rows(
        call.rows, layers[layer, OUT], grad_rows(layers, layer, call), layers[layer, Y_ROW], x, x_row, grad_x, x_row
    )

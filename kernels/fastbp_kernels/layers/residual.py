"""Copies of rows, and sums of two: the ends of a residual block."""

from __future__ import annotations

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.elementwise import add_loop, copy_loop
from fastbp_kernels.compiler.late_kernel import late_kernel
from fastbp_kernels.compiler.pointers import Array, Pointer, shift
from fastbp_kernels.layers.call import LayerCall, backward_arguments, grad_rows
from fastbp_kernels.layers.table import ADDED_G, ADDED_G_ROW, IN, OTHER, OTHER_ROW, OUT, X_ROW, Y_ROW


def copy_forward(layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, y: Pointer) -> None:
    """Copy the call's rows."""
    copy_rows(layers, layer, call, x, x_row, y)


@inner_kernel
def copy_rows(layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, y: Pointer) -> None:
    """Copy the call's rows, for a layer that does not always do so."""
    for row in range(call.rows):
        copy_loop(layers[layer, OUT], shift(x, row * x_row), shift(y, row * layers[layer, Y_ROW]))


def copy_backward(layers: Array, layer: int, call: LayerCall, grad_x: Pointer) -> None:
    """Copy the gradients."""
    g = grad_rows(layers, layer, call)
    for row in range(call.rows):
        copy_loop(layers[layer, OUT], shift(g, row * layers[layer, Y_ROW]), shift(grad_x, row * layers[layer, X_ROW]))


def add_forward(layers: Array, layer: int, call: LayerCall, x: Pointer, x_row: int, y: Pointer) -> None:
    """Add the outputs of the layer that OTHER names to the inputs."""
    other, other_row = layers[layer, OTHER], layers[layer, OTHER_ROW]
    for row in range(call.rows):
        added = shift(call.scratch, other + (call.first_row + row) * other_row)
        add_loop(layers[layer, OUT], shift(x, row * x_row), added, shift(y, row * layers[layer, Y_ROW]))


@late_kernel(backward_arguments)
def add_other_gradient(layers: Array, layer: int, call: LayerCall, grad_x: Pointer) -> None:
    """Add what an Add behind sends back to the inputs of this layer, which it took too."""
    x_row, other_row = layers[layer, X_ROW], layers[layer, ADDED_G_ROW]
    other = shift(call.scratch, layers[layer, ADDED_G] + call.first_row * other_row)
    for row in range(call.rows):
        own = shift(grad_x, row * x_row)
        add_loop(layers[layer, IN], own, shift(other, row * other_row), own)

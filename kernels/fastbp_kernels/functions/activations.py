"""Activations, elementwise, and their derivatives as functions of the output.

Every kernel takes C-contiguous arrays of one shape and dtype; ``output`` may be ``input``, and ``grad_input`` may be
``grad_output``. ReLU and the derivatives are those that the tile applies in its epilogues.
"""

from __future__ import annotations

from fastbp_kernels.compiler.elementwise import elementwise1, elementwise2
from fastbp_kernels.compiler.pointers import Array, pointer
from fastbp_kernels.compiler.public import public_kernel, read, written
from fastbp_kernels.functions import elementary, epilogues

relu_loop = elementwise1(epilogues.relu)
tanh_loop = elementwise1(elementary.tanh)
sigmoid_loop = elementwise1(elementary.sigmoid)
exp_loop = elementwise1(elementary.exp)
relu_derivative_loop = elementwise2(epilogues.times_relu_derivative)
tanh_derivative_loop = elementwise2(epilogues.times_tanh_derivative)
sigmoid_derivative_loop = elementwise2(epilogues.times_sigmoid_derivative)

forward_kernel = public_kernel(input=read(), output=written())
backward_kernel = public_kernel(grad_output=read(), output=read(), grad_input=written())


@forward_kernel
def relu_forward(input: Array, output: Array) -> None:
    """Write max(input, 0) to ``output``; NaN stays NaN."""
    relu_loop(output.size, pointer(input), pointer(output))


@backward_kernel
def relu_backward(grad_output: Array, output: Array, grad_input: Array) -> None:
    """Write ``grad_output`` to ``grad_input`` where ``output`` is not <= 0, and 0 elsewhere."""
    relu_derivative_loop(output.size, pointer(grad_output), pointer(output), pointer(grad_input))


@forward_kernel
def tanh_forward(input: Array, output: Array) -> None:
    """Write tanh(input) to ``output``, at most 2 ULP off."""
    tanh_loop(output.size, pointer(input), pointer(output))


@backward_kernel
def tanh_backward(grad_output: Array, output: Array, grad_input: Array) -> None:
    """Write ``grad_output * (1 - output**2)`` to ``grad_input``."""
    tanh_derivative_loop(output.size, pointer(grad_output), pointer(output), pointer(grad_input))


@forward_kernel
def sigmoid_forward(input: Array, output: Array) -> None:
    """Write 1 / (1 + exp(-input)) to ``output``, at most 2 ULP off."""
    sigmoid_loop(output.size, pointer(input), pointer(output))


@backward_kernel
def sigmoid_backward(grad_output: Array, output: Array, grad_input: Array) -> None:
    """Write ``grad_output * (1 - output) * output`` to ``grad_input``."""
    sigmoid_derivative_loop(output.size, pointer(grad_output), pointer(output), pointer(grad_input))


@forward_kernel
def exp_forward(input: Array, output: Array) -> None:
    """Write exp(input) to ``output``, at most 2 ULP off."""
    exp_loop(output.size, pointer(input), pointer(output))

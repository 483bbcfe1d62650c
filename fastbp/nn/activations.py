"""Activations: elementwise, for arrays of any shape."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fastbp.nn.last_forward import LastForward, token_of_input
from fastbp.nn.module import Module, locked
from fastbp.runtime.buffers import Buffer
from fastbp.validation.arrays import Array, plain, require_floats
from fastbp_kernels import relu_backward, relu_forward, sigmoid_backward, sigmoid_forward, tanh_backward, tanh_forward


class Activation(Module):
    """An elementwise function whose derivative is a function of its output.

    Subclasses name the kernels ``forward_kernel(input, output)`` and
    ``backward_kernel(grad_output, output, grad_input)``.
    """

    forward_kernel: ClassVar[staticmethod[[Array, Array], None]]
    backward_kernel: ClassVar[staticmethod[[Array, Array, Array], None]]
    _last_forward: LastForward
    _output: Buffer
    _grad_input: Buffer

    def __init__(self) -> None:
        self._output, self._grad_input, self._last_forward = Buffer(), Buffer(), LastForward()

    @locked
    def forward(self, input: Array) -> Array:
        """Return an array of the input's shape and dtype, to be read; it keeps its numbers while somebody holds it."""
        checked, last = plain(require_floats(input, type(self).__name__)), self._last_forward
        slot = self._output.take(checked.shape, checked.dtype)
        last.forget()
        self.forward_kernel(checked, slot.array)
        return last.keep(checked, token_of_input(input), slot, None)

    def predict(self, input: Array) -> Array:
        if not self._takes("predict"):
            return super().predict(input)
        input = plain(require_floats(input, type(self).__name__))
        output = np.empty_like(input)
        self.forward_kernel(input, output)
        return output

    @locked
    def backward(self, grad_output: Array, *, retain_graph: bool = False) -> Array:
        """Return ``grad_output`` times the derivative at the last input.

        ``retain_graph`` lets another backward follow this one for the same forward.
        """
        last = self._last_forward
        if last.chain is not None:
            last.chain.hand_over()
        grad_output = last.checked(grad_output, type(self).__name__, self._output, None, None)
        output = last.output
        slot = self._grad_input.take(output.shape, output.dtype)
        last.spend(retain_graph)
        self.backward_kernel(grad_output, output, slot.array)
        slot.memory.gradient_for = last.input_token
        return slot.array.view()


class ReLU(Activation):
    """``max(x, 0)``; its derivative at 0 is 0, as in PyTorch.

    Parameters
    ----------
    inplace : False
        The output is an array that this module owns, and the input stays as it is.
    """

    forward_kernel = staticmethod(relu_forward)
    backward_kernel = staticmethod(relu_backward)

    def __init__(self, inplace: bool = False) -> None:
        if inplace:
            raise ValueError(f"ReLU leaves its input as it is and does not support inplace={inplace!r}")
        super().__init__()


class Tanh(Activation):
    """The hyperbolic tangent; derivative ``1 - output**2``."""

    forward_kernel = staticmethod(tanh_forward)
    backward_kernel = staticmethod(tanh_backward)


class Sigmoid(Activation):
    """``1 / (1 + exp(-x))``; derivative ``output * (1 - output)``."""

    forward_kernel = staticmethod(sigmoid_forward)
    backward_kernel = staticmethod(sigmoid_backward)

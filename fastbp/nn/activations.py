"""Activations: elementwise, for arrays of any shape."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fastbp.arrays import Array, Buffer, plain, require_floats
from fastbp.nn.module import LastForward, Module, guarded
from fastbp_kernels import (
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)


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

    @guarded
    def forward(self, input: Array) -> Array:
        """Return an array of the input's shape and dtype; the next ``forward`` overwrites it."""
        input = plain(require_floats(input, type(self).__name__))
        output = self._output.get(input.shape, input.dtype)
        self.forward_kernel(input, output)
        return self._last_forward.keep(input, output)

    def predict(self, input: Array) -> Array:
        if self._is_overridden(Activation.forward):
            return super().predict(input)
        input = plain(require_floats(input, type(self).__name__))
        output = np.empty_like(input)
        self.forward_kernel(input, output)
        return output

    @guarded
    def backward(self, grad_output: Array) -> Array:
        """Return ``grad_output`` times the derivative at the last input, in an array that this module owns."""
        grad_output = self._last_forward.checked(grad_output, self)
        output = self._last_forward.output
        grad_input = self._grad_input.get(output.shape, output.dtype)
        self.backward_kernel(grad_output, output, grad_input)
        return grad_input.view()


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

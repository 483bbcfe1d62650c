"""Activations: elementwise, for arrays of any shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from fastbp.nn.last_forward import LastForward, token_of_input
from fastbp.nn.module import Module, locked
from fastbp.runtime.buffers import Buffer
from fastbp.validation.arrays import Array, plain, require_floats
from fastbp_kernels import (
    gelu_backward,
    gelu_forward,
    gelu_tanh_backward,
    gelu_tanh_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from fastbp_kernels.functions.activations import ACTIVATION_CODES, ACTIVATIONS


class Activation(Module):
    """An elementwise function with a row in ``fastbp_kernels.functions.activations``.

    Subclasses name the row and the kernels ``forward_kernel(input, output)`` and
    ``backward_kernel(grad_output, saved, grad_input)``, where ``saved`` is what the row says: input or output.

    Attributes
    ----------
    row : str
    settings : tuple of str
        What the constructor takes that makes another function, as attributes.
    """

    row: str
    settings: ClassVar[tuple[str, ...]] = ()
    forward_kernel: Callable[[Array, Array], None]
    backward_kernel: Callable[[Array, Array, Array], None]
    _last_forward: LastForward
    _output: Buffer
    _grad_input: Buffer

    def __init__(self) -> None:
        self._output, self._grad_input, self._last_forward = Buffer(), Buffer(), LastForward()

    @property
    def _activation(self) -> int:
        return ACTIVATION_CODES[self.row]

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
        saved = plain(last.input) if ACTIVATIONS[self._activation].saves == "input" else last.output
        slot = self._grad_input.take(saved.shape, saved.dtype)
        last.spend(retain_graph)
        self.backward_kernel(grad_output, saved, slot.array)
        slot.memory.gradient_for = last.input_token
        return slot.array.view()


class ReLU(Activation):
    """``max(x, 0)``; its derivative at 0 is 0, as in PyTorch.

    Parameters
    ----------
    inplace : False
        The output is an array that this module owns, and the input stays as it is.
    """

    row = "ReLU"
    forward_kernel = staticmethod(relu_forward)
    backward_kernel = staticmethod(relu_backward)

    def __init__(self, inplace: bool = False) -> None:
        if inplace:
            raise ValueError(f"ReLU leaves its input as it is and does not support inplace={inplace!r}")
        super().__init__()


class Tanh(Activation):
    """The hyperbolic tangent; derivative ``1 - output**2``."""

    row = "Tanh"
    forward_kernel = staticmethod(tanh_forward)
    backward_kernel = staticmethod(tanh_backward)


class Sigmoid(Activation):
    """``1 / (1 + exp(-x))``; derivative ``output * (1 - output)``."""

    row = "Sigmoid"
    forward_kernel = staticmethod(sigmoid_forward)
    backward_kernel = staticmethod(sigmoid_backward)


class GELU(Activation):
    """``x * Phi(x)`` with the normal distribution function Phi, as ``torch.nn.GELU``.

    Parameters
    ----------
    approximate : "none" or "tanh"
        "tanh" for ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x**3)))``.
    """

    settings = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU takes approximate 'none' or 'tanh', got {approximate!r}")
        super().__init__()
        self._approximate = approximate
        self.row = "GELU" if approximate == "none" else "GELU:tanh"

    @property
    def approximate(self) -> str:
        """Which form it is."""
        return self._approximate

    def forward_kernel(self, input: Array, output: Array) -> None:
        (gelu_forward if self._approximate == "none" else gelu_tanh_forward)(input, output)

    def backward_kernel(self, grad_output: Array, saved: Array, grad_input: Array) -> None:
        (gelu_backward if self._approximate == "none" else gelu_tanh_backward)(grad_output, saved, grad_input)

    def extra_repr(self) -> str:
        return f"approximate={self._approximate!r}"


def activation_of_row(name: str) -> Activation:
    """Return a module of the library for a row of the registry."""
    kind, _, form = name.partition(":")
    found = next(each for each in activation_classes() if each.__name__ == kind)
    return found(**dict.fromkeys(found.settings, form)) if form else found()


def activation_classes() -> list[type[Activation]]:
    """Return the library's classes of activations, of which each may have several rows."""
    return [kind for kind in Activation.__subclasses__() if kind.__module__ == __name__]

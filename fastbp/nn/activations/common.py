"""The activations with kernels of their own: ReLU, the hyperbolic tangent, the sigmoid and GELU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from fastbp.nn.activations.base import Activation, refuse_inplace
from fastbp.validation.arrays import Array
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
        refuse_inplace(self, inplace)
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

    settings: ClassVar[Mapping[str, type]] = {"approximate": str}

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

    @property
    def backward_kernel(self) -> Callable[[Array, Array, Array], None]:
        return gelu_backward if self._approximate == "none" else gelu_tanh_backward

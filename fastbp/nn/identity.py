"""The module that changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastbp.autograd.functions import unwrap
from fastbp.autograd.tensor import Tensor, wrap
from fastbp.nn.module import Module
from fastbp.validation.arrays import Array, require_floats
from fastbp.validation.user_methods import own_methods


class Identity(Module):
    """``output = input``, as ``torch.nn.Identity``: a place that another module may take.

    Parameters
    ----------
    *arguments, **options
        Ignored, as in PyTorch.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def forward(self, input: Array) -> Array:
        """Return ``input`` itself, as a tensor."""
        value, node = unwrap(input)
        require_floats(value, "Identity")
        return input if isinstance(input, Tensor) else wrap(value, node)

    def backward(self, grad_output: Array, *, retain_graph: bool = False) -> Array:
        """Return ``grad_output`` itself."""
        return require_floats(grad_output, "Identity.backward")

    def backward_parameters(self, grad_output: Array, *, retain_graph: bool = False) -> None:
        self.backward(grad_output, **({"retain_graph": True} if retain_graph else {}))

    def _leaves(self) -> Iterator[Module]:
        return iter((self,) if own_methods(self) else ())

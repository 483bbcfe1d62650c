"""Modules with a ``backward`` of their user's: it is that of the node which a call of the module makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from fastbp.autograd.functions import unwrap
from fastbp.autograd.node import Leaf, Node, tick
from fastbp.autograd.recording import is_grad_enabled
from fastbp.autograd.tensor import Tensor, wrap
from fastbp.nn.forward_node import apart, keeps_passes, refuse_second
from fastbp.validation.arrays import plain


class OwnBackwardNode(Node):
    """A call of a module whose class defines ``backward``.

    What that reads is the module's own affair, so that one call can be gone back through: the last one.
    """

    __slots__ = ("_gradient_for", "call", "leaves", "module", "name")

    _gradient_for: int
    call: int
    module: Any

    def gradient_for(self) -> int:
        """As of the output of a module inside, if the module returned that: its ``backward`` hands the gradient on."""
        return self._gradient_for

    def backward(self, grad: Any) -> Sequence[Any]:
        module, inputs = self.module, self.inputs
        assert inputs is not None
        if not self.leaves and not any(input is not None and input.wanted for input in inputs):
            return [None] * len(inputs)
        for parameter in self.leaves:  # for who writes parameter.grad += ...
            parameter.has_grad = True  # type: ignore[attr-defined]
        token = keeps_passes.set(True)
        try:
            returned = module.backward(plain(np.asarray(grad)).view())
        finally:
            keeps_passes.reset(token)
        gradients = returned if isinstance(returned, tuple) else (returned,)
        if len(gradients) != len(inputs):
            raise ValueError(
                f"{self.name}.backward returns a gradient for each of {len(inputs)} inputs, got {len(gradients)}"
            )
        for input, gradient in zip(inputs, gradients):
            if input is not None and gradient is not None and np.shape(gradient) != input.shape:
                raise ValueError(
                    f"{self.name}.backward returns a gradient of its input's shape {input.shape}, got "
                    f"{np.shape(gradient)}"
                )
        return [None if gradient is None else np.asarray(gradient) for gradient in gradients]

    def backward_apart(self, grad: Any) -> tuple[Sequence[Any], list[tuple[Leaf, Any]]]:
        return apart(self, grad)

    def check(self) -> None:
        if vars(self.module).get("_calls") != self.call:
            raise RuntimeError(
                f"{self.name} has a backward of its own, which is that of its last call, and this is an earlier one; "
                "leave backward out of the class, so that each call is recorded, or call it under fastbp.no_grad() "
                "where no backward follows"
            )

    def release(self) -> None:
        self.inputs = None

    def refuse(self) -> NoReturn:
        refuse_second(self.name)


def call(module: Any, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """Return what the module's ``forward`` returns for the plain numbers of ``inputs``, as a tensor with one node."""
    values, nodes = zip(*map(unwrap, inputs)) if inputs else ((), ())
    number = vars(module)["_calls"] = vars(module).get("_calls", 0) + 1
    output = module.forward(*values, **options)
    if isinstance(output, tuple | list | dict) and is_grad_enabled():
        raise TypeError(
            f"{type(module).__name__} has a backward of its own and so returns one array, got a "
            f"{type(output).__name__}; leave backward out of the class, so that its forward is recorded"
        )
    value, inner = unwrap(output) if isinstance(output, Tensor) else (output, None)
    if not isinstance(value, np.ndarray | np.floating):
        return output
    leaves = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not is_grad_enabled() or not (leaves or any(node is not None for node in nodes)):
        return wrap(value, None)
    node = OwnBackwardNode.__new__(OwnBackwardNode)
    node.order, node.inputs, node.shape, node.dtype = tick(), nodes, value.shape, value.dtype
    node.module, node.call, node.leaves, node.name = module, number, leaves, type(module).__name__
    node._gradient_for = node.order if inner is None else inner.gradient_for()
    return wrap(value, node)

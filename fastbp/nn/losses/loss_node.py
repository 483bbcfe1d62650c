"""The nodes of losses: a loss keeps the gradient that its forward computed on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from fastbp.autograd.functions import unwrap
from fastbp.autograd.node import Node, holds_node, tick
from fastbp.autograd.recording import is_grad_enabled
from fastbp.autograd.tensor import Tensor, wrap
from fastbp.nn.forward_node import keeps_passes, refuse_second
from fastbp.validation.arrays import Array


class LossNode(Node):
    """A loss of one or more arrays.

    Attributes
    ----------
    gradients : tuple of ndarray
        With respect to each input, of a loss that is one number; else of each loss with respect to its own part.
    axis : int or None
        Of the inputs, that each of several losses is over; None where they are of elements.
    """

    __slots__ = ("axis", "gradients", "name")

    gradients: tuple[Array, ...]
    axis: int | None

    def backward(self, grad: Any) -> Sequence[Any]:
        if self.shape == ():
            return self.gradients if grad == 1 else [each * each.dtype.type(grad) for each in self.gradients]
        return [each * self._beside(grad, each) for each in self.gradients]

    def _beside(self, grad: Array, gradient: Array) -> Array:
        """Return the gradient of each loss as it multiplies that of its own part."""
        if self.axis is None:
            return grad
        spread = np.expand_dims(grad, self.axis)
        return spread.reshape(spread.shape + (1,) * (gradient.ndim - spread.ndim))

    def release(self) -> None:
        self.inputs, self.gradients = None, ()

    def refuse(self) -> NoReturn:
        refuse_second(self.name)


def record_loss(
    loss: Any, inputs: tuple[Node | None, ...], value: Any, gradients: tuple[Array, ...], axis: int | None
) -> Tensor:
    """Return a loss's value as a tensor, and let the loss remember its node."""
    if not is_grad_enabled():
        vars(loss)["_last"] = None
        return wrap(value, None)
    node = LossNode.__new__(LossNode)
    node.order, node.inputs, node.shape, node.dtype = tick(), inputs, value.shape, value.dtype
    node.gradients, node.axis, node.name = gradients, axis, type(loss).__name__
    vars(loss)["_last"] = node
    return wrap(value, node if holds_node(inputs) else None)


class OwnLossNode(Node):
    """A call of a loss whose class defines ``backward``: that gives the gradient with respect to the prediction.

    What that reads is the loss's own affair, so that one call can be gone back through: the last one.
    """

    __slots__ = ("call", "loss", "name")

    call: int
    loss: Any

    def backward(self, grad: Any) -> tuple[Any]:
        token = keeps_passes.set(True)
        try:
            if self.shape == ():
                gradient = np.asarray(self.loss.backward())
                gradient = gradient if grad == 1 else gradient * gradient.dtype.type(grad)
            else:
                gradient = np.asarray(self.loss.backward(grad))
        finally:
            keeps_passes.reset(token)
        (input,) = self.inputs  # type: ignore[misc]
        if input is not None and gradient.shape != input.shape:
            raise ValueError(
                f"{self.name}.backward returns a gradient of the prediction's shape {input.shape}, got {gradient.shape}"
            )
        return (gradient,)

    def check(self) -> None:
        if vars(self.loss).get("_calls") != self.call:
            raise RuntimeError(
                f"{self.name} has a backward of its own, which is that of its last call, and this is an earlier one; "
                "leave backward out of the class, so that each call is recorded"
            )

    def release(self) -> None:
        self.inputs = None

    def refuse(self) -> NoReturn:
        refuse_second(self.name)


def call_own(loss: Any, prediction: Any, *arguments: Any, **options: Any) -> Any:
    """Return what the ``forward`` of a loss with a backward of its own returns for plain numbers, as a tensor."""
    values, node = unwrap(prediction)
    number = vars(loss)["_calls"] = vars(loss).get("_calls", 0) + 1
    value = loss.forward(values, *arguments, **options)
    value = unwrap(value)[0] if isinstance(value, Tensor) else value
    if not isinstance(value, float | np.floating | np.ndarray) or node is None or not is_grad_enabled():
        return value
    value = np.float64(value) if isinstance(value, float) else value
    made = OwnLossNode.__new__(OwnLossNode)
    made.order, made.inputs, made.shape, made.dtype = tick(), (node,), value.shape, value.dtype
    made.loss, made.call, made.name = loss, number, type(loss).__name__
    return wrap(value, made)


def constant(array: Any, owner: str, name: str) -> Any:
    """Return the numbers of what a loss has no gradient for, or raise RuntimeError where one is asked for."""
    value, node = unwrap(array)
    if node is not None and is_grad_enabled():
        raise RuntimeError(
            f"{owner} has a gradient for its prediction, got a {name} that requires one too; give {name}.detach(), or "
            "write the loss by functions of NumPy"
        )
    return value

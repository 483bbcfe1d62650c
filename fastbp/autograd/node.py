"""The nodes of a pass: how an output was computed, and the leaves where gradients end.

    weight (leaf) ──┐
                    ├── matmul ── tanh ── mean        order:  older ──> younger
    input (None) ───┘

A node refers to the nodes of its inputs, never to a tensor, so that a pass is in no reference cycle and is freed as
soon as its last output is gone. ``order`` comes from one counter: a node is younger than its inputs.

A module's forward is one node, of a class of its own that derives from ``Node``: it keeps what its backward reads,
has the leaves of its parameters among its inputs or adds to their gradients itself, and raises in ``check`` where the
parameters that it read were changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

import numpy as np

from fastbp.validation.arrays import Array

tick = count(1).__next__
"""Return the next number of the counter that orders nodes, and changes of leaves among them."""


class Node:
    """How one array was computed.

    Attributes
    ----------
    order : int
        From ``tick``: greater than that of each input.
    inputs : tuple of (Node or None), or None
        The nodes of the inputs, None for an input without gradient. None as a whole: there is no backward.
    shape, dtype
        Of the array, and so of its gradient.
    keeps_grad : bool
        Whether the node wants its gradient: ``accumulate`` is called at the end of a backward that reached it.
    wanted : bool
        Whether somebody asks for its gradient, so that it is worth computing where that costs.
    leaves : sequence of Leaf
        To whose gradients ``backward`` adds by itself, beside those of ``inputs``.
    name : str
        For messages.
    """

    __slots__ = ("dtype", "inputs", "order", "shape")

    inputs: tuple[Node | None, ...] | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: int
    keeps_grad = False
    wanted = True
    leaves: Sequence[Leaf] = ()
    name = "an operation"

    def gradient_for(self) -> int:
        """Return what a gradient of the array is known by: ``order``, or that of the node which this one passes on."""
        return self.order

    def backward(self, grad: Any) -> Iterable[Any]:
        """Return a gradient for each input, None where there is none.

        ``grad`` has the node's shape and dtype, and is not to be written to. It is a NumPy scalar where the shape is
        (). A gradient may have any dtype, and any shape that broadcasting leads to or from the input's.
        """
        raise NotImplementedError

    def backward_apart(self, grad: Any) -> tuple[Iterable[Any], Iterable[tuple[Leaf, Any]]]:
        """Return what ``backward`` returns, and the gradients of the ``leaves``, without adding to theirs."""
        raise NotImplementedError

    def accumulate(self, grad: Any) -> None:
        """Add ``grad`` to the gradient that the node keeps: only called where ``keeps_grad``."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise RuntimeError if what the backward reads has changed since the forward."""

    def kept_arrays(self) -> Iterable[Any]:
        """Return what was kept of the forward, to be looked through for the arrays of changed leaves."""
        return ()

    def release(self) -> None:
        """Drop what was kept of the forward: there is no second backward."""
        self.inputs = None

    def refuse(self) -> None:
        """Raise for a node whose ``inputs`` are None."""
        raise RuntimeError(
            f"backward went through {self.name} a second time, and the first time dropped what it had kept; "
            "call the first backward with retain_graph=True"
        )


class FunctionNode(Node):
    """The result of a differentiable function with a gradient for each argument.

    ``saved`` begins what each gradient of ``row`` is called with, behind the gradient of the result.
    """

    __slots__ = ("row", "saved")

    row: Any
    saved: tuple[Any, ...]

    @property
    def name(self) -> str:  # type: ignore[override]
        """The function."""
        return str(self.row.name)

    def backward(self, grad: Any) -> Iterable[Any]:
        inputs, gradients, saved = self.inputs, self.row.gradients, self.saved
        assert inputs is not None
        if len(inputs) == 1:  # a loop costs as much as a gradient of a small array
            return (gradients[0](grad, *saved),)
        if len(inputs) == 2:
            left, right = inputs
            of_left = None if left is None else gradients[0](grad, *saved)
            return of_left, None if right is None else gradients[1](grad, *saved)
        return [None if input is None else gradient(grad, *saved) for input, gradient in zip(inputs, gradients)]

    def kept_arrays(self) -> Iterable[Any]:
        return self.saved

    def release(self) -> None:
        self.inputs, self.saved = None, ()


class JoinNode(FunctionNode):
    """The result of a function of any number of arrays: the gradients of all of them in one call."""

    __slots__ = ()

    def backward(self, grad: Any) -> Iterable[Any]:
        gradients: Iterable[Any] = self.row.gradient(grad, *self.saved)
        return gradients


class PoisonedNode(Node):
    """The result of a function whose gradient is not known: right numbers, and a backward that raises."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.inputs, self.order, self.shape, self.name = None, tick(), (), name

    def refuse(self) -> None:
        raise RuntimeError(
            f"{self.name} has no gradient in fastbp; "
            "compute this part otherwise, or without gradient on purpose: of tensor.detach()"
        )


class KeptGradNode(Node):
    """The same array once more, whose gradient is kept: see ``Tensor.retain_grad``."""

    __slots__ = ("grad",)

    grad: Array | None
    keeps_grad = True
    name = "retain_grad"

    def __init__(self, node: Node) -> None:
        self.inputs, self.order, self.shape, self.dtype, self.grad = (node,), tick(), node.shape, node.dtype, None

    def backward(self, grad: Any) -> Iterable[Any]:
        return (grad,)

    def accumulate(self, grad: Any) -> None:
        self.grad = np.array(grad) if self.grad is None else self.grad + grad


class Leaf(Node):
    """An array that gradients are asked for: a tensor's, or a parameter's. Whoever owns it derives from this class.

    Parameters
    ----------
    array : ndarray
        The values, in the memory that operations on the leaf read.

    Attributes
    ----------
    changed : int
        The ``tick`` of when the values last changed. What was computed before from these values, and kept them, has no
        backward any more.
    """

    __slots__ = ("array", "changed")

    keeps_grad = True
    name = "a leaf"

    def __init__(self, array: Array) -> None:
        self.inputs, self.order, self.array = (), tick(), array
        self.shape, self.dtype, self.changed = array.shape, array.dtype, 0

    def backward(self, grad: Any) -> Iterable[Any]:
        return ()

    def note_change(self) -> None:
        """Note that the values have changed: whoever writes to them calls it."""
        self.changed = tick()

    def release(self) -> None:
        """Keep everything: a leaf is part of any number of passes."""


class ArrayLeaf(Leaf):
    """A tensor's own leaf.

    Attributes
    ----------
    grad : ndarray or None
        The sum of the gradients that reached the leaf; None before the first.
    """

    __slots__ = ("grad",)

    grad: Array | None

    def __init__(self, array: Array) -> None:
        super().__init__(array)
        self.grad = None

    def accumulate(self, grad: Any) -> None:
        if self.grad is None:
            self.grad = np.array(grad)
        else:
            self.grad += grad  # in its place, as in PyTorch: whoever holds it sees it


def holds_node(inputs: Iterable[Node | None]) -> bool:
    """Return whether one of ``inputs`` requires a gradient. (A parameter is a node whose ``bool`` is its number's.)"""
    for node in inputs:  # noqa: SIM110  # a generator takes four times as long
        if node is not None:
            return True
    return False

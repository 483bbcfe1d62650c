"""The walk back through a pass: gradients of leaves, or of chosen inputs."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from threading import Lock
from typing import Any

import numpy as np

from fastbp.autograd.node import FunctionNode, Leaf, Node
from fastbp.validation.arrays import Array

_accumulating = Lock()  # two threads may reach one leaf
_order = attrgetter("order")


def run_backward(
    roots: Sequence[Node], grads: Sequence[Any], retain_graph: bool, targets: Sequence[Node] | None = None,
    *, until: Node | None = None,
) -> list[Any]:  # fmt: skip
    """Go back from ``roots`` and return the gradients of ``targets``, or add them to those nodes that keep one.

    Everything that can be refused is refused first, and gradients are added last: a backward that raises has changed
    nothing.

    Parameters
    ----------
    roots, grads : sequences of the same length
        Where to begin, with the gradient of each: of its shape and dtype.
    retain_graph : bool
        Whether another backward may follow. Otherwise the nodes drop what they kept.
    targets : sequence of Node or None
        Whose gradients are returned, None for one that was not reached. Nothing is added to ``grad`` then.
    until : Node or None
        Where a backward of a part ends: nothing behind this node is reached. Its gradient is returned.
    """
    ordered = _collect(roots, until)
    wanted = None if targets is None else _on_the_way_to(set(targets), ordered)
    if wanted is not None:
        ordered = [node for node in ordered if node in wanted]
    with np.errstate(all="ignore"):  # an infinite slope is a result, not an accident of the backward
        reached = _walk(ordered, roots, grads, wanted, until)
    if not retain_graph:
        for node in ordered:
            if node is not until:
                node.release()
    if targets is not None:
        return [reached.get(node) for node in targets]
    of_part = [] if until is None else [reached.pop(until, None)]
    with _accumulating:
        for node, grad in reached.items():
            if node.keeps_grad:
                node.accumulate(grad)
    return of_part


def _collect(roots: Sequence[Node], until: Node | None = None) -> list[Node]:
    """Return the nodes behind ``roots``, the youngest first; raise RuntimeError if one of them has no backward."""
    found = set(roots)
    pending = list(found)
    if until is not None:
        found.add(until)
    last_change = 0
    while pending:
        node = pending.pop()
        inputs = node.inputs
        if inputs is None:
            node.refuse()
            continue
        if type(node) is not FunctionNode:
            node.check()
            if isinstance(node, Leaf) and node.changed > last_change:
                last_change = node.changed
        for input in inputs:
            if input is not None and input not in found:
                found.add(input)
                pending.append(input)
    ordered = sorted(found, key=_order, reverse=True)
    if last_change:
        _refuse_changed_leaves(ordered)
    return ordered


def _refuse_changed_leaves(nodes: list[Node]) -> None:
    """Raise RuntimeError if a node keeps the array of a leaf that has changed since the node was made."""
    changed = [node for node in nodes if isinstance(node, Leaf) and node.changed]
    oldest_first = nodes[::-1]
    for leaf in changed:
        for node in oldest_first:
            if node.order > leaf.changed:
                break
            for kept in node.kept_arrays():
                if isinstance(kept, np.ndarray) and np.may_share_memory(kept, leaf.array):
                    raise RuntimeError(
                        f"backward of {node.name} reads a leaf of shape {leaf.shape} that changed after the forward; "
                        "call backward before the change, or the forward again after it"
                    )


def _on_the_way_to(targets: set[Node], ordered: list[Node]) -> set[Node]:
    """Return the nodes from which a target is reached, targets included."""
    wanted: set[Node] = set()
    for node in reversed(ordered):
        if node in targets or not wanted.isdisjoint(node.inputs or ()) or not targets.isdisjoint(node.leaves):
            wanted.add(node)
    return wanted


def _walk(
    ordered: list[Node], roots: Sequence[Node], grads: Sequence[Any], wanted: set[Node] | None, until: Node | None
) -> dict[Node, Any]:
    """Return the gradients of the nodes that keep one, and of all of ``wanted`` with their leaves."""
    pending: dict[Node, Any] = {}
    for root, grad in zip(roots, grads):
        pending[root] = pending[root] + grad if root in pending else grad
    reached: dict[Node, Any] = {}
    for node in ordered:
        grad = pending.pop(node, None)
        if grad is None:
            continue
        if wanted is not None or node.keeps_grad or node is until:
            reached[node] = reached[node] + grad if node in reached else grad
            if node is until:
                continue
        inputs = node.inputs
        if inputs is None:  # another thread's backward has come in between
            node.refuse()
            continue
        if wanted is not None and node.leaves:
            gradients, of_leaves = node.backward_apart(grad)
            for leaf, gradient in of_leaves:
                reached[leaf] = reached[leaf] + gradient if leaf in reached else gradient
        else:
            gradients = node.backward(grad)
        for input, gradient in zip(inputs, gradients):
            if input is None or gradient is None or (wanted is not None and input not in wanted):
                continue
            if gradient.shape != input.shape or gradient.dtype is not input.dtype:
                gradient = fit(gradient, input.shape, input.dtype, node)
            if input in pending:
                gradient = pending[input] + gradient
            pending[input] = gradient
    return reached


def fit(grad: Any, shape: tuple[int, ...], dtype: np.dtype[Any], node: Node) -> Array:
    """Return the gradient of an input of this shape and dtype: broadcasting and promotion in the forward undone.

    Axes that the input was repeated along are summed over. Axes along which the gradient is the same are repeated.
    """
    if grad.dtype.kind not in "fiub":
        raise RuntimeError(
            f"backward of {node.name} came to a gradient of {grad.dtype} for an array of {dtype}; "
            "gradients are of real numbers: compute this part of tensor.detach()"
        )
    if grad.shape == shape:
        return grad.astype(dtype)  # type: ignore[no-any-return]
    if not shape:
        grad = np.add.reduce(grad, axis=None)
    elif grad.shape == ():
        spread = np.empty(shape, dtype)
        spread.fill(grad)
        return spread
    else:
        extra = grad.ndim - len(shape)  # below 0 where the gradient is the same along leading axes
        ones = (axis + extra for axis, size in enumerate(shape) if size == 1)
        axes = (*range(extra), *(axis for axis in ones if axis >= 0 and grad.shape[axis] != 1))
        if axes:
            grad = np.add.reduce(grad, axis=axes, keepdims=True)
        if extra > 0:
            grad = grad.reshape(grad.shape[extra:])
        if grad.shape != shape:
            spread = np.empty(shape, dtype)
            spread[...] = grad
            return spread
    return grad if grad.dtype == dtype else grad.astype(dtype)  # type: ignore[no-any-return]

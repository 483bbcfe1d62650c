"""From a class with a ``forward`` to a network of the engine: one pass is recorded, and read as a chain of modules."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.autograd import Tensor, enable_grad, expit, tensor
from fastbp.autograd.functions import TABLE
from fastbp.autograd.node import FunctionNode, Leaf, Node
from fastbp.engine.plan import NoPlan, plan_of
from fastbp.nn.activations import Sigmoid, Tanh
from fastbp.nn.forward_node import InputNode, traced
from fastbp.nn.module import Module
from fastbp.nn.residual import Residual
from fastbp.nn.sequential import Sequential
from fastbp.validation.arrays import Array, require_floats

_ACTIVATIONS = {id(TABLE[np.tanh]): Tanh, id(TABLE[expit]): Sigmoid}


class _NotAChain(Exception):
    """What stands in the way."""


def compile(model: Module, example_input: Array) -> Sequential:
    """Return a network over the same parameters that does what one call of ``model`` does, and trains in the engine.

    The call is recorded with ``example_input``. It may consist of calls of the library's modules, of ``numpy.tanh`` and
    ``fastbp.expit``, and of additions of what a part computes to what it was given (residual blocks). Nothing tells
    what would change from call to call: branches of Python, loops of changing length, numbers from elsewhere. Whoever
    has these does not compile. Parameters are shared: what one is trained to, the other is.

    Parameters
    ----------
    model : Module
        Of one input and one output.
    example_input : ndarray
        As the model takes it, of any number of rows.

    Raises
    ------
    ValueError
        If the call is no such chain: names what stands in the way. The model is left as it was.
    TypeError
        For a model or an input that is none.
    """
    if not isinstance(model, Module):
        raise TypeError(f"compile takes a fastbp.nn.Module, got {type(model).__name__}")
    start = tensor(require_floats(example_input, "compile"), requires_grad=True)
    modules: dict[Node, Any] = {}
    training = [module for module in model.modules() if module.training]
    token = traced.set(modules)
    try:
        model.eval()  # so that nothing is counted or drawn
        with enable_grad():
            output = model(start)
    finally:
        traced.reset(token)
        for module in training:
            module.training = True
    name = type(model).__name__
    if not isinstance(output, Tensor) or output._node is None:
        raise ValueError(
            f"compile takes a model that returns one array computed from its input, got {type(output).__name__} from "
            f"{name}"
        )
    assert start._node is not None
    try:
        chain = _path(output._node, start._node, modules)
    except _NotAChain as why:
        raise ValueError(
            f"compile takes a chain of the library's modules, tanh, expit and additions of an input, and {name} has "
            f"{why}; train it as it is, module by module"
        ) from None
    if not chain:
        raise ValueError(f"compile takes a model that computes something, and {name} returns its input")
    _require_once(chain, name)
    compiled = Sequential(*chain)
    plan = plan_of(compiled)
    if isinstance(plan, NoPlan):
        raise ValueError(f"compile takes what the engine trains, and {name} is not: {plan.reason}")
    if not np.allclose(compiled.predict(example_input), np.asarray(output), rtol=1e-4, atol=1e-5, equal_nan=True):
        raise ValueError(f"compile takes a model that does the same in every call, and {name} returned something else")
    return compiled


def _path(node: Node, start: Node, modules: dict[Node, Any]) -> list[Module]:
    """Return the modules between ``start`` and ``node``, or raise _NotAChain."""
    if node is start:
        return []
    inputs = [input for input in node.inputs or () if input is not None]
    if isinstance(node, InputNode) and inputs:
        return _path(inputs[0], start, modules)
    if isinstance(node, Leaf):
        raise _NotAChain(f"an operation on {node.name} of shape {node.shape} itself")
    if node in modules:
        return [*_path(inputs[0], start, modules), modules[node]]
    row = node.row if isinstance(node, FunctionNode) else None
    if row is TABLE[np.add] and len(inputs) == 2:
        return _addition(inputs[0], inputs[1], start, modules)
    if id(row) in _ACTIVATIONS:
        return [*_path(inputs[0], start, modules), _ACTIVATIONS[id(row)]()]
    raise _NotAChain(f"a call of {node.name}")


def _addition(one: Node, other: Node, start: Node, modules: dict[Node, Any]) -> list[Module]:
    """Return the path to the sum of two nodes, of which one was computed from the other."""
    for given, computed in ((one, other), (other, one)):
        given = _behind_inputs(given)
        try:
            branch = _path(computed, given, modules)
        except _NotAChain:
            continue
        return [*_path(given, start, modules), Residual(*branch)] if branch else _path(given, start, modules)
    raise _NotAChain("an addition of two branches, of which neither was computed from the other")


def _behind_inputs(node: Node) -> Node:
    while isinstance(node, InputNode) and node.inputs and node.inputs[0] is not None:
        node = node.inputs[0]
    return node


def _require_once(chain: list[Module], name: str) -> None:
    """Raise ValueError if a module is in the chain twice: it would be laid out and count its forwards twice."""
    seen: set[Module] = set()
    for part in chain:
        for module in part.modules():
            if module in seen:
                raise ValueError(f"compile takes a model that uses each module once, and {name} uses {module!r} again")
            seen.add(module)

"""The table of differentiable functions: what a row is, and how a call of its function is recorded.

A row belongs to a function of NumPy (or to an operator, or to a function of ``special.py``) and says how the gradient
of the result goes back to the arguments. There are five kinds:

    Elementwise   a ufunc: ``gradient(grad, out, *inputs)`` for each input
    Function      what computes the value and what is kept, and ``gradient(grad, *kept)`` for each argument
    Join          the same for any number of arrays, with one gradient function for all of them
    Move          a function that only moves elements: its gradient follows from where it moves their indices
    Composed      a function that is put together of others in the table

The rows stand in files by family: ``arithmetic``, ``elementary``, ``reductions``, ``shapes``, ``indexing``, ``moves``,
``joins``, ``linear_algebra``, ``special``. Gradient functions give what is right before broadcasting: ``backward.fit``
brings it to the argument's shape and dtype, in one place. They never write to ``grad``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

import numpy as np

from fastbp.autograd.node import FunctionNode, JoinNode, Node, PoisonedNode, holds_node, tick
from fastbp.autograd.recording import is_grad_enabled
from fastbp.autograd.tensor import Tensor, settle, wrap

Gradient = Callable[..., Any]

TABLE: dict[Any, Row] = {}
"""The rows by their functions. The ufuncs of ``scipy.special`` are found by name, without importing SciPy."""

_PLAIN_TYPES = frozenset(
    [float, int, bool, np.ndarray, np.float32, np.float64, np.int64, np.bool_, type(None), str, slice, type(...)]
)
_new_node = FunctionNode.__new__
NOTHING: tuple[Any, ...] = (None, None, None, None)


class Row:
    """A differentiable function. ``call`` computes it, and records it where an argument requires a gradient."""

    gradients: tuple[Gradient | None, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def call(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return the function's value as a tensor."""
        raise NotImplementedError


def unwrap(argument: Any) -> tuple[Any, Node | None]:
    """Return the value that an argument computes with, and its node.

    A class that is no array but stands for one, such as ``Parameter``, has a method ``autograd_leaf`` that returns the
    ``Leaf`` of its values, or None where it is frozen, and reads as an array.
    """
    kind = type(argument)
    if kind is Tensor:
        try:
            return argument._value, argument._node
        except AttributeError:
            settle(argument)
            return argument._value, argument._node
    if kind in _PLAIN_TYPES or not hasattr(argument, "autograd_leaf"):
        return argument, None
    leaf = argument.autograd_leaf()
    return (np.asarray(argument) if leaf is None else leaf.array), leaf


def record(row: Row, inputs: tuple[Node | None, ...], value: Any, saved: tuple[Any, ...]) -> Tensor:
    """Return a tensor of ``value`` that was computed as ``row`` says."""
    if not is_grad_enabled() or not holds_node(inputs):
        return wrap(value, None)
    node = _new_node(FunctionNode)
    node.order, node.inputs, node.row, node.saved = tick(), inputs, row, saved
    node.shape, node.dtype = value.shape, value.dtype
    return wrap(value, node)


def record_one(row: Row, input: Node | None, value: Any, saved: tuple[Any, ...]) -> Tensor:
    """Return a tensor of ``value`` that was computed of one input, the first argument of ``row``."""
    if input is None or not is_grad_enabled():
        return wrap(value, None)
    node = _new_node(FunctionNode)
    node.order, node.inputs, node.row, node.saved = tick(), (input,), row, saved
    node.shape, node.dtype = value.shape, value.dtype
    return wrap(value, node)


def strip(argument: Any) -> Any:
    """Return an argument with the plain values of all tensors in it, also in lists, tuples and dictionaries."""
    kind = type(argument)
    if kind in _PLAIN_TYPES:
        return argument
    if kind is Tensor:
        return unwrap(argument)[0]
    if kind is dict:
        return {key: strip(item) for key, item in argument.items()}
    if kind is list or kind is tuple:
        return kind([strip(item) for item in argument])
    return np.asarray(argument) if hasattr(argument, "autograd_leaf") else argument


def holds_recorded(argument: Any) -> bool:
    """Return whether an argument is, or holds in lists, tuples and dictionaries, what requires a gradient."""
    kind = type(argument)
    if kind in _PLAIN_TYPES:
        return False
    if kind is list or kind is tuple:
        return any(map(holds_recorded, argument))
    if kind is dict:
        return any(map(holds_recorded, argument.values()))
    return unwrap(argument)[1] is not None


def are_plain(arguments: Iterable[Any]) -> bool:
    """Return whether no argument can be or hold a tensor, as far as a look at its type tells."""
    for argument in arguments:
        kind = type(argument)
        if kind not in _PLAIN_TYPES and not (kind is tuple and are_plain(argument)):
            return False
    return True


def poisoned(value: Any, name: str) -> Any:
    """Return what a function without a row computed: its floats as tensors whose backward raises and names it."""
    if isinstance(value, np.ndarray | np.generic) and not isinstance(value, Tensor):
        return wrap(value, PoisonedNode(name)) if value.dtype.kind in "fc" else value
    if isinstance(value, tuple | list):
        items = [poisoned(item, name) for item in value]
        return type(value)._make(items) if hasattr(value, "_make") else type(value)(items)
    return value


def function_name(function: Any) -> str:
    """Return a function's name as its users write it: numpy.linalg.svd."""
    module = getattr(function, "__module__", None) or "numpy"
    if isinstance(function, np.ufunc):
        module = "numpy" if getattr(np, function.__name__, None) is function else "scipy.special"
    return f"{module}.{function.__name__}"


class Elementwise(Row):
    """A ufunc of any number of inputs and one output.

    ``keeps`` says what the gradients read: "inputs", "output", both, "nothing", or "others" where each gradient reads
    the other input alone. What is not read is None for them: its memory is free again as soon as nobody else holds it,
    and a leaf among it may change.
    """

    def __init__(self, function: Any, gradients: tuple[Gradient | None, ...], keeps: str) -> None:
        super().__init__(function_name(function))
        self.function, self.gradients = function, gradients
        self.keeps_inputs, self.keeps_output, self.keeps_others = (
            word in keeps for word in ("inputs", "output", "others")
        )

    def call(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if len(args) == 1 and not options:  # sooner than the general way
            value, input = unwrap(args[0])
            result = self.function(value)
            saved = result if self.keeps_output else None, value if self.keeps_inputs else None
            return record_one(self, input, result, saved)
        values, nodes = zip(*map(unwrap, args))
        value = self.function(*values, **options)
        if options.get("where", True) is not True:
            return poisoned(value, f"{self.name} with where=")
        return record(self, nodes, value, self.kept(value, values, nodes))

    def kept(self, value: Any, values: tuple[Any, ...], nodes: tuple[Node | None, ...]) -> tuple[Any, ...]:
        """Return what a gradient is called with behind ``grad``: the output, and the inputs."""
        output = value if self.keeps_output else None
        if self.keeps_others:
            (x, y), (left, right) = values, nodes
            return None, None if right is None else x, None if left is None else y
        return (output, *(values if self.keeps_inputs else NOTHING[: len(values)]))


def elementwise(function: Any, *gradients: Gradient | None, keeps: str = "nothing") -> None:
    """Add a ufunc to the table: see ``Elementwise``."""
    TABLE[function] = Elementwise(function, gradients, keeps)


class Function(Row):
    """A function with options.

    ``compute`` has the signature of the function, with the differentiable arguments first. It is called with plain
    values and returns the value and what is kept, or None for what is kept where these options have no gradient here.
    """

    def __init__(self, name: str, compute: Callable[..., Any], gradients: tuple[Gradient | None, ...]) -> None:
        super().__init__(name)
        self.compute, self.gradients = compute, gradients
        self.parameters = tuple(signature(compute).parameters)
        self.arguments = self.parameters[: len(gradients)]
        self.first_has_gradient = gradients[0] is not None
        self.without_gradient = [place for place, gradient in enumerate(gradients) if gradient is None]

    def call(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if self.first_has_gradient and args and are_plain(args[1:]) and (not options or are_plain(options.values())):
            first, node = unwrap(args[0])  # sooner than the general way
            value, saved = self.compute(first, *args[1:], **options)
            if saved is None or value.dtype.kind != "f":
                return self._recorded((node,), value, saved)
            return record_one(self, node, value, saved)
        count = len(self.arguments)
        nodes: list[Node | None] = [None] * count
        values = list(args)
        for position, name in enumerate(self.arguments):
            if position < len(values):
                values[position], nodes[position] = unwrap(values[position])
            elif name in options:
                options = dict(options)
                options[name], nodes[position] = unwrap(options[name])
        for place in self.without_gradient:
            nodes[place] = None
        is_known = True
        if len(values) > count or options:
            rest = [*args[count:], *(option for name, option in options.items() if name not in self.arguments)]
            is_known = not any(map(holds_recorded, rest))
            values[count:] = map(strip, values[count:])
            options = strip(options)
        value, saved = self.compute(*values, **options)
        return self._recorded(tuple(nodes), value, saved if is_known else None)

    def _recorded(self, nodes: tuple[Node | None, ...], value: Any, saved: tuple[Any, ...] | None) -> Any:
        if saved is None:
            return poisoned(value, f"{self.name} with these options")
        return record(self, nodes, value, saved) if value.dtype.kind == "f" else value  # such as astype(int)


def function(key: Any, *gradients: Gradient | None, name: str = "") -> Callable[[Callable[..., Any]], Any]:
    """Add a function with options to the table: a decorator of what computes it."""

    def add(compute: Callable[..., Any]) -> Callable[..., Any]:
        TABLE[key] = Function(name or function_name(key), compute, gradients)
        return compute

    return add


class Join(Row):
    """A function of a sequence of arrays: ``compute(arrays, ...)``, and one ``gradient`` that returns all gradients."""

    def __init__(self, name: str, compute: Callable[..., Any], gradient: Gradient) -> None:
        super().__init__(name)
        self.compute, self.gradient = compute, gradient

    def call(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        values, nodes = zip(*map(unwrap, args[0]))
        value, saved = self.compute(list(values), *strip(args[1:]), **strip(options))
        result = record(self, nodes, value, saved)
        if result._node is not None:
            result._node.__class__ = JoinNode
        return result


class Composed(Row):
    """A function that calls others, which are recorded."""

    def __init__(self, name: str, compose: Callable[..., Any]) -> None:
        super().__init__(name)
        self.compose = compose

    def call(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return self.compose(*args, **options)


def composed(*keys: Any) -> Callable[[Callable[..., Any]], Any]:
    """Add functions that are put together of others to the table: a decorator of what does it."""

    def add(compose: Callable[..., Any]) -> Callable[..., Any]:
        for key in keys:
            TABLE[key] = Composed(function_name(key), compose)
        return compose

    return add


def unknown(function: Any, args: Iterable[Any], options: dict[str, Any]) -> Any:
    """Call a function that has no row with plain values, and return a poisoned result."""
    return poisoned(function(*strip(tuple(args)), **strip(options)), function_name(function))

"""By which names NumPy and Python come to the recorded functions: operators, methods, attributes of ``Tensor``.

NumPy's methods that are written in C go by no protocol, so that each of them is put in its place here. Operators could
go by ``__array_ufunc__``, at three times the cost of an operation that is recorded.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastbp.autograd.dispatch import call_function, call_ufunc, refuse_write, require_writable
from fastbp.autograd.functions import NOTHING, TABLE, Elementwise, holds_recorded, strip, unwrap
from fastbp.autograd.node import FunctionNode, Leaf, tick
from fastbp.autograd.recording import is_grad_enabled
from fastbp.autograd.tensor import Tensor, node_of, note_change, plain_view, settle, wrap

__all__ = ["Tensor"]  # complete from here on

Operator = Callable[[Tensor, Any], Any]

_NUMBERS = frozenset([float, int, bool, np.ndarray, np.float32, np.float64, np.int64, np.bool_])
_new_node = FunctionNode.__new__


def _binary(name: str, ufunc: Any, compute: Callable[[Any, Any], Any], is_reflected: bool) -> Operator:
    """Return the method of an operator: in one function, since calls are what operations on small arrays cost."""
    row = TABLE[ufunc]
    assert isinstance(row, Elementwise)
    keeps_nothing = not (row.keeps_inputs or row.keeps_output or row.keeps_others)
    nothing, kept = NOTHING[:3], row.kept
    of_numpy = getattr(np.ndarray, name)

    def method(self: Tensor, other: Any) -> Any:
        kind = type(other)
        try:
            if kind is Tensor:
                y, right = other._value, other._node
            elif kind in _NUMBERS:
                y, right = other, None
            else:
                return of_numpy(self, other)  # which asks for whoever takes part, and comes back by __array_ufunc__
            x, left = self._value, self._node
        except AttributeError:
            _settle(self, other)
            return method(self, other)
        if is_reflected:
            x, y, left, right = y, x, right, left
        value = compute(x, y)
        if (left is None and right is None) or not is_grad_enabled():
            return wrap(value, None)
        node = _new_node(FunctionNode)
        node.order, node.inputs, node.row = tick(), (left, right), row
        node.saved = nothing if keeps_nothing else kept(value, (x, y), (left, right))
        node.shape, node.dtype = value.shape, value.dtype
        return wrap(value, node)

    return method


def _settle(*arguments: Any) -> None:
    for argument in arguments:
        if type(argument) is Tensor:
            node_of(argument)
            if not hasattr(argument, "_value"):
                settle(argument)


def _unary(ufunc: Any) -> Callable[[Tensor], Any]:
    call = TABLE[ufunc].call
    return lambda self: call((self,), {})


def _comparison(name: str, compute: Callable[[Any, Any], Any]) -> Operator:
    of_numpy = getattr(np.ndarray, name)

    def method(self: Tensor, other: Any) -> Any:
        kind = type(other)
        if kind is Tensor:
            other = unwrap(other)[0]
        elif kind not in _NUMBERS:
            return of_numpy(self, other)
        return compute(unwrap(self)[0], other)

    return method


def _in_place(ufunc: Any, compute: Callable[[Any, Any], Any]) -> Operator:
    """Return ``tensor += x``: a new tensor, but for a leaf under ``no_grad``, which is written to."""

    def method(self: Tensor, other: Any) -> Any:
        if isinstance(node_of(self), Leaf):
            return call_ufunc(ufunc, "__call__", (self, other), {"out": (self,)})
        result = compute(self, other)
        if result.shape != self.shape:
            raise ValueError(f"non-broadcastable output operand with shape {self.shape} doesn't match {result.shape}")
        return result if result.dtype == self.dtype else result.astype(self.dtype)

    return method


_OPERATORS = {
    "add": (np.add, operator.add),
    "sub": (np.subtract, operator.sub),
    "mul": (np.multiply, operator.mul),
    "truediv": (np.divide, operator.truediv),
    "pow": (np.power, operator.pow),
    "mod": (np.remainder, operator.mod),
    "matmul": (np.matmul, operator.matmul),
}
for _name, (_ufunc, _compute) in _OPERATORS.items():
    setattr(Tensor, f"__{_name}__", _binary(f"__{_name}__", _ufunc, _compute, False))
    setattr(Tensor, f"__r{_name}__", _binary(f"__r{_name}__", _ufunc, _compute, True))
    setattr(Tensor, f"__i{_name}__", _in_place(_ufunc, _compute))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Tensor, f"__{_name}__", _comparison(f"__{_name}__", getattr(operator, _name)))
for _name, _ufunc in {"neg": np.negative, "pos": np.positive, "abs": np.absolute}.items():
    setattr(Tensor, f"__{_name}__", _unary(_ufunc))


# NumPy's protocols


def _array_ufunc(self: Tensor, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    if len(inputs) == 1 and not options and method == "__call__" and ufunc in TABLE:
        return TABLE[ufunc].call(inputs, options)  # sooner than the general way
    for argument in inputs:
        if getattr(type(argument), "__array_ufunc__", True) is None:
            return NotImplemented
    return call_ufunc(ufunc, method, inputs, options)


def _array_function(self: Tensor, function: Any, types: Any, args: Any, options: Any) -> Any:
    for kind in types:
        if not (issubclass(kind, np.ndarray) or hasattr(kind, "autograd_leaf")):
            return NotImplemented
    return call_function(function, args, options)


Tensor.__array_ufunc__ = _array_ufunc  # type: ignore[method-assign, assignment]
Tensor.__array_function__ = _array_function  # type: ignore[method-assign, assignment]


# Methods


def _method(function: Any) -> Callable[..., Any]:
    row = TABLE.get(function)

    def method(self: Tensor, *args: Any, **options: Any) -> Any:
        if row is not None and not args and "out" not in options and is_grad_enabled():
            return row.call((self,), options)
        return call_function(function, (self, *args), options)

    return method


_METHODS = (
    "all any argmax argmin argpartition argsort clip copy cumprod cumsum diagonal dot max mean min nonzero prod ravel "
    "repeat round searchsorted squeeze std sum swapaxes take trace var"
)
for _name in _METHODS.split():
    setattr(Tensor, _name, _method(getattr(np, _name)))


def _several(function: Any) -> Callable[..., Any]:
    """Return a method that takes a shape or axes as one tuple, or one by one."""

    def method(self: Tensor, *sizes: Any, **options: Any) -> Any:
        given = sizes if len(sizes) != 1 else sizes[0]
        return call_function(function, (self, None if sizes == () else given), options)

    return method


def _compress(self: Tensor, condition: Any, axis: Any = None) -> Any:
    """Return ``numpy.compress``, whose first argument is the condition."""
    return np.compress(condition, self, axis)


def _flatten(self: Tensor, order: Any = "C") -> Any:
    return np.ravel(self, order)


def _astype(self: Tensor, *args: Any, **options: Any) -> Any:
    return TABLE[np.ndarray.astype].call((self, *args), options)


def _clone(self: Tensor) -> Any:
    """Return a copy that gradients go through, as in PyTorch."""
    return np.copy(self)


def _conj(self: Tensor) -> Any:
    return np.conjugate(self)


def _view(self: Tensor, *args: Any, **options: Any) -> Any:
    """Return the tensor for no arguments, as NumPy does a view; read-only numbers for a dtype or a class."""
    return np.copy(self) if not args and not options else self.detach().view(*args, **options)


def _plain(name: str) -> Callable[..., Any]:
    """Return a method that gives plain numbers, or bytes."""
    of_numpy = getattr(np.ndarray, name)
    return lambda self, *args, **options: of_numpy(self.detach(), *args, **options)


for _name in ("byteswap", "getfield", "choose"):
    setattr(Tensor, _name, _plain(_name))
for _name, _attribute in {
    "reshape": _several(np.reshape),
    "transpose": _several(np.transpose),
    "compress": _compress,
    "flatten": _flatten,
    "astype": _astype,
    "clone": _clone,
    "conj": _conj,
    "conjugate": _conj,
    "view": _view,
}.items():
    setattr(Tensor, _name, _attribute)


def _refused(name: str) -> Callable[..., Any]:
    of_numpy = getattr(np.ndarray, name)

    def method(self: Tensor, *args: Any, **options: Any) -> Any:
        require_writable(self, f"Tensor.{name}")
        if is_grad_enabled() and holds_recorded([*args, options]):
            refuse_write(f"Tensor.{name} does not record where its numbers come from")
        result = of_numpy(plain_view(self), *strip(args), **strip(options))
        note_change(self)
        return result

    return method


for _name in ("fill", "itemset", "partition", "put", "setfield", "sort", "__setitem__", "__delitem__"):
    if hasattr(np.ndarray, _name):
        setattr(Tensor, _name, _refused(_name))


def _resize(self: Tensor, *shape: Any, **options: Any) -> None:
    refuse_write("Tensor.resize would change the array of a tensor")


Tensor.resize = _resize  # type: ignore[method-assign, assignment]

# Attributes, indexing


def _getitem(self: Tensor, index: Any) -> Any:
    return TABLE[operator.getitem].call((self, index), {})


def _iterate(self: Tensor) -> Iterator[Any]:
    if self.ndim == 0:
        raise TypeError("iteration over a 0-d tensor")
    return (self[index] for index in range(len(self)))


Tensor.__getitem__ = _getitem  # type: ignore[method-assign, assignment]
Tensor.__iter__ = _iterate  # type: ignore[method-assign, assignment]


def _transposed(self: Tensor) -> Any:
    return np.transpose(self)


def _matrix_transposed(self: Tensor) -> Any:
    if self.ndim < 2:
        raise ValueError("matrix transpose with ndim < 2 is undefined")
    return np.swapaxes(self, -1, -2)


def _fixed(name: str, remedy: str) -> property:
    """Return an attribute of NumPy's arrays that tensors cannot be changed by."""
    of_numpy = getattr(np.ndarray, name)

    def refuse(self: Tensor, value: Any) -> None:
        raise AttributeError(f"Tensor.{name} cannot be set: that would change what a pass holds; use {remedy}")

    return property(of_numpy.__get__, refuse)


Tensor.T = property(_transposed)  # type: ignore[method-assign, assignment]
Tensor.mT = property(_matrix_transposed)  # type: ignore[method-assign, assignment]
Tensor.real = property(lambda self: np.real(self))  # type: ignore[method-assign, assignment]
Tensor.imag = property(lambda self: self.detach().imag)  # type: ignore[method-assign, assignment]
Tensor.flat = property(lambda self: np.ravel(self) if self.ndim else self.detach().flat)  # type: ignore[method-assign, assignment]
for _name, _remedy in {"shape": "tensor.reshape(shape)", "dtype": "tensor.astype(dtype)", "strides": "a copy"}.items():
    setattr(Tensor, _name, _fixed(_name, _remedy))

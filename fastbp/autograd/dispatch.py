"""From a call of NumPy with tensors among its arguments to the row of the function, or to what stands for one.

A call comes here by NumPy's protocols for ufuncs (``__array_ufunc__``) and for other functions
(``__array_function__``). Objects that are no arrays and have leaves, such as parameters, hand their calls on too.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from fastbp.autograd import arithmetic, elementary, indexing, joins, linear_algebra, moves, reductions, shapes, special
from fastbp.autograd.functions import TABLE, Function, function_name, holds_recorded, poisoned, strip, unknown
from fastbp.autograd.node import Leaf
from fastbp.autograd.recording import is_grad_enabled
from fastbp.autograd.tensor import Tensor, node_of, note_change, wrap
from fastbp.autograd.without_derivative import PLAIN, WRITES

FAMILIES = (arithmetic, elementary, indexing, joins, linear_algebra, moves, reductions, shapes, special)
"""The files of rows: importing them fills the table."""

_REDUCTIONS = {
    (np.add, "reduce"): np.sum,
    (np.multiply, "reduce"): np.prod,
    (np.maximum, "reduce"): np.max,
    (np.minimum, "reduce"): np.min,
    (np.add, "accumulate"): np.cumsum,
    (np.multiply, "accumulate"): np.cumprod,
}
_KNOWN_OPTIONS = frozenset(["dtype", "casting", "order", "subok", "where"])


def call_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return ``getattr(ufunc, method)(*inputs, **options)``, recorded."""
    if not options and method == "__call__" and ufunc in TABLE and is_grad_enabled():
        return TABLE[ufunc].call(inputs, options)
    written = (*options.get("out", ()), *(inputs[:1] if method == "at" else ()))
    if written or not is_grad_enabled():
        return _call_plain(getattr(ufunc, method), f"numpy.{ufunc.__name__}", inputs, options, written)
    if ufunc in PLAIN:
        return getattr(ufunc, method)(*strip(inputs), **strip(options))
    if method == "__call__":
        row = TABLE.get(ufunc) or special.scipy_row(ufunc)
        if row is not None and _KNOWN_OPTIONS.issuperset(options):
            return row.call(inputs, options)
    elif (ufunc, method) in _REDUCTIONS:
        if len(inputs) == 1:
            options = {"axis": 0, **options}
        return call_function(_REDUCTIONS[ufunc, method], inputs, options)
    elif method == "outer" and len(inputs) == 2 and not options:
        left, right = inputs
        return ufunc(np.reshape(left, np.shape(left) + (1,) * np.ndim(right)), right)
    value = getattr(ufunc, method)(*strip(inputs), **strip(options))
    return poisoned(value, function_name(ufunc) + ("" if method == "__call__" else f".{method}"))


def call_function(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return ``function(*args, **options)``, recorded."""
    if function in PLAIN and options.get("out") is None:
        return function(*strip(args), **strip(options))
    written = _written(function, args, options)
    if written or not is_grad_enabled():
        return _call_plain(function, function_name(function), args, options, written)
    row = TABLE.get(function)
    if row is None:
        return unknown(function, args, options)
    return row.call(args, options)


def _written(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Return the arrays that a call writes into."""
    written = options.get("out")
    if written is None and function in WRITES:
        position, name = WRITES[function]
        written = args[position] if position < len(args) else options[name]
    if written is None:
        row = TABLE.get(function)
        if isinstance(row, Function) and "out" in row.parameters[len(row.arguments) : len(args)]:
            written = args[row.parameters.index("out")]
    return () if written is None else written if isinstance(written, tuple) else (written,)


def _call_plain(
    function: Any, name: str, args: tuple[Any, ...], options: dict[str, Any], written: tuple[Any, ...]
) -> Any:
    """Call ``function`` with plain values: where nothing is recorded, or where it writes into what may be written."""
    for array in written:
        if isinstance(array, Tensor):
            require_writable(array, name)
    if written and is_grad_enabled() and holds_recorded([*args, options]):
        refuse_write(f"{name} that writes into an array does not record where its numbers come from")
    value = function(*_memory(args), **{key: _memory(option) for key, option in options.items()})
    for array in written:
        if isinstance(array, Tensor):
            note_change(array)
    if written:
        return written[0] if len(written) == 1 and value is not None else value
    return _unrecorded(value)


def _memory(argument: Any) -> Any:
    """Return an argument with plain arrays in the place of tensors, of the same memory also where the shape is ()."""
    if isinstance(argument, Tensor):
        return np.ndarray.view(argument, np.ndarray)
    if type(argument) is tuple or type(argument) is list:
        return type(argument)([_memory(item) for item in argument])
    return strip(argument)


def _unrecorded(value: Any) -> Any:
    """Return floats that were computed without recording as tensors that require no gradient."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f":
        return wrap(value, None)
    if type(value) is tuple or type(value) is list:
        return type(value)([_unrecorded(item) for item in value])
    return value


def require_writable(tensor: Tensor, name: str) -> None:
    """Raise RuntimeError if ``tensor`` holds numbers of a pass."""
    node = node_of(tensor)
    if node is None:
        return
    if not isinstance(node, Leaf):
        refuse_write(f"{name} would write into a tensor that was computed in a pass")
    if is_grad_enabled():
        raise RuntimeError(
            f"{name} would write into a leaf that requires a gradient; do that under `with fastbp.no_grad():`"
        )


def refuse_write(problem: str) -> NoReturn:
    """Raise RuntimeError with the remedies."""
    raise RuntimeError(f"{problem}; compute a new tensor, or write into a copy of tensor.detach()")

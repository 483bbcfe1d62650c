"""Functions that NumPy lacks and networks need, and rows of SciPy's ufuncs.

``expit``, ``softmax``, ``log_softmax`` and ``logsumexp`` take plain arrays too and need no SciPy. The ufuncs of
``scipy.special`` come by NumPy's protocol. Its functions that are no ufuncs (``scipy.special.softmax``) are not
recorded: use those of this file.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import Any

import numpy as np

from fastbp.autograd.functions import TABLE, Function, Gradient, Row, elementwise, unwrap
from fastbp.autograd.reductions import Axis, put_back

SCIPY: dict[str, tuple[tuple[Gradient, ...], str]] = {}
"""The gradients of ufuncs of ``scipy.special``, and what they read, by name."""


def _logsumexp_gradient(grad: Any, out: Any, x: Any, axis: Axis) -> Any:
    return put_back(grad, x.shape, axis) * np.exp(x - put_back(out, x.shape, axis))


def _softmax_gradient(grad: Any, out: Any, axis: int) -> Any:
    return out * (grad - np.sum(grad * out, axis=axis, keepdims=True))


def _log_softmax_gradient(grad: Any, out: Any, axis: int) -> Any:
    return grad - np.exp(out) * np.sum(grad, axis=axis, keepdims=True)


def _public(gradient: Gradient) -> Callable[[Callable[..., Any]], Any]:
    """Add a row for the function whose computation is decorated, and return the function."""

    def add(compute: Callable[..., Any]) -> Any:
        row = Function(f"fastbp.autograd.{compute.__name__}", compute, (gradient,))

        def public(x: Any, *args: Any, **options: Any) -> Any:
            value, node = unwrap(x)
            if node is None:
                return compute(np.asarray(value), *args, **options)[0]
            return row.call((x, *args), options)

        public.__name__, public.__doc__, public.__module__ = compute.__name__, compute.__doc__, compute.__module__
        public.__wrapped__ = compute  # type: ignore[attr-defined]  # its signature
        TABLE[public] = row
        return public

    return add


def _floats(x: Any) -> Any:
    return x if x.dtype.kind == "f" else x.astype(float)


@_public(lambda grad, out: grad * (out * (1 - out)))
def expit(x: Any) -> Any:
    """Return the logistic function 1 / (1 + exp(-x)) of each element."""
    x = _floats(x)
    small = np.exp(-np.abs(x))
    value = np.where(np.greater_equal(x, 0), 1, small) / (1 + small)
    value = value.astype(x.dtype)[()]
    return value, (value,)


@_public(_logsumexp_gradient)
def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Return log(sum(exp(x))) along ``axis``, without overflow."""
    x = _floats(x)
    highest = np.max(x, axis=axis, keepdims=True)
    shift = np.where(np.isfinite(highest), highest, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):  # the logarithm of a sum of nothing is -inf
        sums = np.log(np.sum(np.exp(x - shift), axis=axis, keepdims=True)) + shift
    value = sums if keepdims else np.squeeze(sums, axis)[()] if axis is not None else sums.reshape(())[()]
    return value, (value, x, axis)


def _shifted(x: Any, axis: int) -> Any:
    x = _floats(x)
    return x - np.max(x, axis=axis, keepdims=True)


@_public(_softmax_gradient)
def softmax(x: Any, axis: int = -1) -> Any:
    """Return exp(x) / sum(exp(x)) along ``axis``: the last, where SciPy takes all elements."""
    powers = np.exp(_shifted(x, axis))
    value = powers / np.sum(powers, axis=axis, keepdims=True)
    return value, (value, axis)


@_public(_log_softmax_gradient)
def log_softmax(x: Any, axis: int = -1) -> Any:
    """Return log(softmax(x)) along ``axis``: the last, where SciPy takes all elements."""
    shifted = _shifted(x, axis)
    value = shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
    return value, (value, axis)


def _scipy(name: str, *gradients: Gradient, keeps: str) -> None:
    SCIPY[name] = gradients, keeps


def scipy_row(ufunc: Any) -> Row | None:
    """Return the row of a ufunc of SciPy, None for another. At its first use it is added to the table."""
    if ufunc.__name__ not in SCIPY or hasattr(np, ufunc.__name__):
        return None
    gradients, keeps = SCIPY[ufunc.__name__]
    elementwise(ufunc, *gradients, keeps=keeps)
    return TABLE[ufunc]


_scipy("expit", lambda grad, out, x: grad * (out * (1 - out)), keeps="output")
_scipy("logit", lambda grad, out, x: grad / (x * (1 - x)), keeps="inputs")
_scipy("log_expit", lambda grad, out, x: grad * -np.expm1(out), keeps="output")
_scipy("erf", lambda grad, out, x: grad * np.exp(-x * x) * (2 / sqrt(pi)), keeps="inputs")
_scipy("erfc", lambda grad, out, x: grad * np.exp(-x * x) * (-2 / sqrt(pi)), keeps="inputs")
_scipy("ndtr", lambda grad, out, x: grad * np.exp(-x * x / 2) / sqrt(2 * pi), keeps="inputs")
_scipy("log_ndtr", lambda grad, out, x: grad * np.exp(-x * x / 2 - out) / sqrt(2 * pi), keeps="inputs, output")
_scipy(
    "xlogy",
    lambda grad, out, x, y: grad * np.where(np.equal(x, 0) & np.less_equal(y, 0), 0, np.log(y)),
    lambda grad, out, x, y: grad * x / y,
    keeps="inputs",
)

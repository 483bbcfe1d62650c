"""Rows of arithmetic: operators, powers, extremes of two, choices between two."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.autograd.functions import composed, elementwise, function

NO_SLOPE = np.float64(0)  # as in PyTorch, which has zero gradients where a function is constant between its steps


def _power_base(grad: Any, out: Any, x: Any, y: Any) -> Any:
    if type(y) is int or type(y) is float:
        return NO_SLOPE if y == 0 else grad * (y * (x if y == 2 else x ** (y - 1)))
    slope = grad * (y * x ** (y - 1))
    return np.where(np.equal(y, 0), 0, slope)  # x ** -1 is infinite at 0


def _power_exponent(grad: Any, out: Any, x: Any, y: Any) -> Any:
    is_flat = np.equal(x, 0) & np.greater_equal(y, 0)  # 0 ** y stays 0
    return np.where(is_flat, 0, grad * out * np.log(x))


def _copied_sign(grad: Any, out: Any, x: Any, y: Any) -> Any:
    return np.where(np.equal(x, 0), 0, grad * (out / x))


def _larger(grad: Any, out: Any, x: Any, y: Any) -> Any:
    """Return the gradient of the first of ``maximum``, or of the second of ``minimum``: half of it on ties."""
    return _but_for(np.less(x, y), np.equal(x, y), grad)


def _smaller(grad: Any, out: Any, x: Any, y: Any) -> Any:
    return _but_for(np.greater(x, y), np.equal(x, y), grad)


def _but_for(is_other: Any, is_tie: Any, grad: Any) -> Any:
    """Return ``grad``, 0 where the other is the extreme, and half of it on ties."""
    return np.where(is_other, 0, np.where(is_tie, grad / 2, grad) if np.count_nonzero(is_tie) else grad)


elementwise(np.add, lambda grad, out, x, y: grad, lambda grad, out, x, y: grad)
elementwise(np.subtract, lambda grad, out, x, y: grad, lambda grad, out, x, y: -grad)
elementwise(np.multiply, lambda grad, out, x, y: grad * y, lambda grad, out, x, y: grad * x, keeps="others")
elementwise(
    np.divide, lambda grad, out, x, y: grad / y, lambda grad, out, x, y: -grad * (out / y), keeps="inputs, output"
)
elementwise(np.power, _power_base, _power_exponent, keeps="inputs, output")
elementwise(np.float_power, _power_base, _power_exponent, keeps="inputs, output")
elementwise(np.remainder, lambda grad, out, x, y: grad, lambda grad, out, x, y: -grad * np.floor(x / y), keeps="inputs")
elementwise(np.fmod, lambda grad, out, x, y: grad, lambda grad, out, x, y: -grad * np.trunc(x / y), keeps="inputs")
elementwise(np.negative, lambda grad, out, x: -grad)
elementwise(np.positive, lambda grad, out, x: grad)
elementwise(np.conjugate, lambda grad, out, x: grad)
elementwise(np.absolute, lambda grad, out, x: grad * np.sign(x), keeps="inputs")
elementwise(np.fabs, lambda grad, out, x: grad * np.sign(x), keeps="inputs")
elementwise(np.sign, lambda grad, out, x: NO_SLOPE)
elementwise(np.copysign, _copied_sign, lambda grad, out, x, y: NO_SLOPE, keeps="inputs, output")
elementwise(np.square, lambda grad, out, x: grad * (2 * x), keeps="inputs")
elementwise(np.reciprocal, lambda grad, out, x: -grad * (out * out), keeps="output")
elementwise(np.maximum, _larger, lambda grad, out, x, y: _larger(grad, out, y, x), keeps="inputs")
elementwise(np.minimum, _smaller, lambda grad, out, x, y: _smaller(grad, out, y, x), keeps="inputs")
elementwise(  # the first on ties, and whichever is a number
    np.fmax,
    lambda grad, out, x, y: np.where(np.greater_equal(x, y) | np.isnan(y), grad, 0),
    lambda grad, out, x, y: np.where(np.greater_equal(x, y) | np.isnan(y), 0, grad),
    keeps="inputs",
)
elementwise(
    np.fmin,
    lambda grad, out, x, y: np.where(np.less_equal(x, y) | np.isnan(y), grad, 0),
    lambda grad, out, x, y: np.where(np.less_equal(x, y) | np.isnan(y), 0, grad),
    keeps="inputs",
)


def _clip_inside(grad: Any, x: Any, low: Any, high: Any) -> Any:
    is_outside = np.less(x, low) | np.greater(x, high)  # neither for NaN
    return np.where(is_outside, 0, grad)


def _clip_low(grad: Any, x: Any, low: Any, high: Any) -> Any:
    return np.where(np.less(x, low) & np.less(low, high), grad, 0)


def _clip_high(grad: Any, x: Any, low: Any, high: Any) -> Any:
    return np.where(np.greater(x, high) | np.less(high, low), grad, 0)


@function(np.clip, _clip_inside, _clip_low, _clip_high)
def _clip(
    a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None, **options: Any
) -> Any:
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    value = np.clip(a, low, high, **options)
    return value, None if options else (a, -np.inf if low is None else low, np.inf if high is None else high)


@function(
    np.where,
    None,
    lambda grad, condition: np.where(condition, grad, 0),
    lambda grad, condition: np.where(condition, 0, grad),
)
def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return np.where(condition), None  # indices
    return np.where(condition, x, y), (condition,)


@composed(np.select)
def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    result = default
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        result = np.where(condition, choice, result)
    return result


def _finite(grad: Any, x: Any) -> Any:
    return np.where(np.isfinite(x), grad, 0)


@function(np.nan_to_num, _finite)
def _nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    if not copy:
        raise RuntimeError("numpy.nan_to_num with copy=False writes into the numbers of a pass; leave copy out")
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf), (x,)

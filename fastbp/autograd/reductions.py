"""Rows of reductions: sums, means, products, extremes along axes; and of running sums and products."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastbp.autograd.functions import composed, function

Axis = int | tuple[int, ...] | None
_NO_OPTION: Any = getattr(np, "_NoValue", None)  # what NumPy's methods stand for "not given" with
_add_up: Any = np.add.reduce
_multiply_up: Any = np.multiply.reduce


def _given(**options: Any) -> dict[str, Any]:
    return {name: option for name, option in options.items() if option is not _NO_OPTION}


def kept_shape(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """Return the shape of a reduction with ``keepdims=True``."""
    if axis is None:
        return (1,) * len(shape)
    axes = {index % len(shape) for index in (axis if isinstance(axis, tuple) else (axis,))} if shape else ()
    return tuple(1 if index in axes else size for index, size in enumerate(shape))


def put_back(grad: Any, shape: tuple[int, ...], axis: Axis) -> Any:
    """Return ``grad``, or the result of a reduction, with the reduced axes back as axes of size 1."""
    if axis is None and grad.ndim == 0:
        return grad
    if type(axis) is int and grad.ndim == len(shape):
        return grad  # they are there
    return grad.reshape(kept_shape(shape, axis))


def count_of(shape: tuple[int, ...], axis: Axis) -> int:
    """Return how many elements a reduction takes together."""
    kept = kept_shape(shape, axis)
    return prod(size for size, left in zip(shape, kept) if left == 1)


def _sum_gradient(grad: Any, shape: tuple[int, ...], axis: Axis, where: Any) -> Any:
    spread = put_back(grad, shape, axis)
    return spread if where is _NO_OPTION or where is True else np.where(where, spread, 0)


@function(np.sum, _sum_gradient)
def _sum(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = 0,
    where: Any = True,
) -> Any:
    options = {} if where is True and initial == 0 else _given(initial=initial, where=where)
    value = _add_up(a, axis, dtype, None, keepdims is True, **options)
    return value, (a.shape, axis, where)


def _mean_gradient(grad: Any, shape: tuple[int, ...], axis: Axis, count: int) -> Any:
    return put_back(grad / count, shape, axis)


@function(np.mean, _mean_gradient)
def _mean(
    a: Any, axis: Axis = None, dtype: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True
) -> Any:
    if where is not True and where is not _NO_OPTION:
        return np.mean(a, axis, dtype, keepdims=keepdims is True, where=where), None
    count = a.size if axis is None else count_of(a.shape, axis)
    if count == 0 or dtype is not None or a.dtype.itemsize < 4:  # NumPy's warning, and its sums of float16
        return np.mean(a, axis, dtype, keepdims=keepdims is True), (a.shape, axis, count)
    total = _add_up(a, axis, None, None, keepdims is True)
    return np.true_divide(total, count, dtype=a.dtype), (a.shape, axis, count)


def _var_gradient(grad: Any, out: Any, a: Any, axis: Axis, divisor: float) -> Any:
    shape = a.shape
    mean = np.mean(a, axis=axis, keepdims=True)
    return put_back(grad, shape, axis) * (2 / np.float64(divisor)).astype(a.dtype) * (a - mean)


def _std_gradient(grad: Any, out: Any, a: Any, axis: Axis, divisor: float) -> Any:
    halved = np.where(np.equal(out, 0), 0, grad / (2 * out))  # as in PyTorch, where all elements are equal
    return _var_gradient(halved, out, a, axis, divisor)


def _add_spread(spread: Any, gradient: Any) -> None:
    @function(spread, gradient)
    def compute(
        a: Any, axis: Axis = None, dtype: Any = None, out: Any = None, ddof: float = 0, keepdims: Any = False,
        **options: Any,
    ) -> Any:  # fmt: skip
        options = _given(**options)
        value = spread(a, axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims is True, **options)
        divisor = max(count_of(a.shape, axis) - ddof, 0)
        return value, None if options else (value, a, axis, divisor)


_add_spread(np.var, _var_gradient)
_add_spread(np.std, _std_gradient)


def _extreme_gradient(grad: Any, out: Any, a: Any, axis: Axis) -> Any:
    is_extreme = a == put_back(out, a.shape, axis)
    share = is_extreme / np.sum(is_extreme, axis=axis, keepdims=True)  # ties share it, as in PyTorch's amax
    return put_back(grad, a.shape, axis) * share.astype(a.dtype)


def _add_extreme(extreme: Any) -> None:
    @function(extreme, _extreme_gradient)
    def compute(
        a: Any, axis: Axis = None, out: Any = None, keepdims: Any = False, initial: Any = _NO_OPTION, where: Any = True
    ) -> Any:
        options = _given(initial=initial, **({} if where is True else {"where": where}))
        value = extreme(a, axis=axis, keepdims=keepdims is True, **options)
        return value, None if options else (value, a, axis)


for _extreme in (np.max, np.min, np.nanmax, np.nanmin):
    _add_extreme(_extreme)


def _products_of_others(rows: Any) -> Any:
    """Return for each element of the last axis the product of all others, also where some are zero."""
    before, behind = np.ones_like(rows), np.ones_like(rows)
    np.cumprod(rows[..., :-1], axis=-1, out=before[..., 1:])
    np.cumprod(rows[..., :0:-1], axis=-1, out=behind[..., -2::-1])
    return before * behind


def _prod_gradient(grad: Any, a: Any, axis: Axis) -> Any:
    if a.size == 0:
        return np.zeros_like(a)
    axes = [index for index, left in enumerate(kept_shape(a.shape, axis)) if left == 1]
    others = [index for index in range(a.ndim) if index not in axes]
    turned = a.transpose(others + axes)
    products = _products_of_others(turned.reshape(*turned.shape[: len(others)], -1)).reshape(turned.shape)
    return put_back(grad, a.shape, axis) * products.transpose(np.argsort(others + axes))


@function(np.prod, _prod_gradient)
def _prod(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = 1,
    where: Any = True,
) -> Any:
    options = {} if where is True else _given(where=where)
    options |= {} if initial is _NO_OPTION or initial == 1 else {"initial": initial}
    value = _multiply_up(a, axis, dtype, None, keepdims is True, **options)
    return value, None if options else (a, axis)


def _cumsum_gradient(grad: Any, shape: tuple[int, ...], axis: int | None) -> Any:
    along = 0 if axis is None else axis
    return np.flip(np.cumsum(np.flip(grad, along), along), along).reshape(shape)


@function(np.cumsum, _cumsum_gradient)
def _cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    return np.cumsum(a, axis, dtype), (a.shape, axis)


def _cumprod_gradient(grad: Any, a: Any, axis: int | None) -> Any:
    """Return the gradient without a division: it is right where elements are zero.

    d out[j] / d x[k] is before[k] times the elements between k and j. Summed over j >= k, with the gradients of out[j]
    as weights, these are a recursion from the end: behind[k] = grad[k] + x[k + 1] * behind[k + 1].
    """
    along = 0 if axis is None else axis
    x = np.moveaxis(np.ravel(a) if axis is None else a, along, 0)
    behind, before = np.array(np.moveaxis(grad, along, 0)), np.ones_like(x)
    for k in range(len(x) - 2, -1, -1):
        behind[k] += x[k + 1] * behind[k + 1]
    np.cumprod(x[:-1], axis=0, out=before[1:])
    return np.moveaxis(before * behind, 0, along).reshape(a.shape)


@function(np.cumprod, _cumprod_gradient)
def _cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
    return np.cumprod(a, axis, dtype), (a, axis)


@composed(np.nansum)
def _nansum(a: Any, axis: Axis = None, **options: Any) -> Any:
    return np.sum(np.where(np.isnan(a), a.dtype.type(0), a), axis, **options)


@composed(np.nanprod)
def _nanprod(a: Any, axis: Axis = None, **options: Any) -> Any:
    return np.prod(np.where(np.isnan(a), a.dtype.type(1), a), axis, **options)


@composed(np.nanmean)
def _nanmean(
    a: Any, axis: Axis = None, dtype: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True
) -> Any:
    counts = ~np.isnan(a) & where
    count = np.sum(counts, axis, keepdims=keepdims).astype(a.dtype)
    return np.sum(np.where(counts, a, a.dtype.type(0)), axis, dtype, keepdims=keepdims) / count


@composed(np.ptp)
def _ptp(a: Any, axis: Axis = None, out: Any = None, keepdims: bool = False) -> Any:
    return np.max(a, axis, keepdims=keepdims) - np.min(a, axis, keepdims=keepdims)


@composed(np.average)
def _average(a: Any, axis: Axis = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    if returned:
        raise TypeError("numpy.average of a tensor takes returned=False; the sum of the weights is numpy.sum(weights)")
    if weights is None:
        return np.mean(a, axis, keepdims=keepdims)
    if np.shape(weights) != np.shape(a):
        if not isinstance(axis, int) or np.ndim(weights) != 1:
            raise TypeError("numpy.average of a tensor takes weights of its shape, or a vector along one axis")
        weights = np.reshape(weights, [-1 if index == axis % a.ndim else 1 for index in range(a.ndim)])
        weights = np.broadcast_to(weights, np.shape(a))
    return np.sum(a * weights, axis, keepdims=keepdims) / np.sum(weights, axis, keepdims=keepdims)

"""Rows of what takes elements out of an array: by index, by order, where a mask is true."""

from __future__ import annotations

import operator
from types import EllipsisType
from typing import Any

import numpy as np

from fastbp.autograd.functions import composed, function

_BASIC = (int, np.integer, slice, EllipsisType, type(None))


def _takes_each_once(index: Any) -> bool:
    """Return whether no element can be taken twice: slices, numbers, and a mask."""
    if isinstance(index, tuple):
        return all(isinstance(item, _BASIC) and not isinstance(item, bool) for item in index)
    return isinstance(index, _BASIC) or (isinstance(index, np.ndarray) and index.dtype == bool)


def _scattered(grad: Any, shape: tuple[int, ...], index: Any) -> Any:
    whole = np.zeros(shape, grad.dtype)
    if _takes_each_once(index):
        whole[index] = grad
    else:
        np.add.at(whole, index, grad)
    return whole


@function(operator.getitem, _scattered, name="indexing")
def _getitem(a: Any, index: Any) -> Any:
    return a[index], (a.shape, index)


def _scattered_along(grad: Any, shape: tuple[int, ...], order: Any, axis: int) -> Any:
    whole = np.empty(order.shape, grad.dtype)
    np.put_along_axis(whole, order, grad, axis)
    return whole.reshape(shape)


@function(np.sort, lambda grad, *kept: _scattered_along(grad, *kept))
def _sort(a: Any, axis: int | None = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    along, rows = (0, np.ravel(a)) if axis is None else (axis, a)
    indices = np.argsort(rows, along, "stable" if stable else kind, order)
    return np.take_along_axis(rows, indices, along), (a.shape, indices, along)


@function(np.partition, lambda grad, *kept: _scattered_along(grad, *kept))
def _partition(a: Any, kth: Any, axis: int | None = -1, kind: Any = "introselect", order: Any = None) -> Any:
    along, rows = (0, np.ravel(a)) if axis is None else (axis, a)
    indices = np.argpartition(rows, kth, along, kind, order)
    return np.take_along_axis(rows, indices, along), (a.shape, indices, along)


@composed(np.compress)
def _compress(condition: Any, a: Any, axis: int | None = None, out: Any = None) -> Any:
    return np.take(a, np.flatnonzero(condition), axis)


@composed(np.extract)
def _extract(condition: Any, arr: Any) -> Any:
    return np.take(arr, np.flatnonzero(condition))


@composed(np.trace)
def _trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Any:
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


@composed(np.diff)
def _diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    ends = [np.asanyarray(end) for end in (prepend, append) if end is not None]
    if ends:
        shape = list(np.shape(a))
        shape[axis] = 1
        ends = [np.broadcast_to(end, shape) if np.ndim(end) == 0 else end for end in ends]
        before, behind = ends[: prepend is not None], ends[prepend is not None :]
        a = np.concatenate([*before, a, *behind], axis)
    whole = (slice(None),) * (axis % np.ndim(a))
    for _ in range(n):
        a = a[(*whole, slice(1, None))] - a[(*whole, slice(None, -1))]
    return a

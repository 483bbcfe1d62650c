"""Rows of what puts several arrays together, and takes one apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.autograd.functions import TABLE, Join, composed


def _concatenate(arrays: list[Any], axis: int | None = 0, out: Any = None, **options: Any) -> Any:
    return np.concatenate(arrays, axis, **options), ([np.shape(array) for array in arrays], axis)


def _taken_apart(grad: Any, shapes: list[tuple[int, ...]], axis: int | None) -> list[Any]:
    along = 0 if axis is None else axis
    sizes = [int(np.prod(shape)) if axis is None else shape[axis] for shape in shapes]
    parts = np.split(grad, np.cumsum(sizes[:-1]), along)
    return [part.reshape(shape) for part, shape in zip(parts, shapes)]


TABLE[np.concatenate] = Join("numpy.concatenate", _concatenate, _taken_apart)


@composed(np.stack)
def _stack(arrays: Any, axis: int = 0, out: Any = None, **options: Any) -> Any:
    arrays = list(arrays)
    if len({np.shape(array) for array in arrays}) > 1:
        raise ValueError("all input arrays must have the same shape")
    return np.concatenate([np.expand_dims(array, axis) for array in arrays], axis, **options)


@composed(np.vstack)
def _vstack(tup: Any, **options: Any) -> Any:
    return np.concatenate([np.atleast_2d(array) for array in tup], 0, **options)


@composed(np.hstack)
def _hstack(tup: Any, **options: Any) -> Any:
    arrays = [np.atleast_1d(array) for array in tup]
    return np.concatenate(arrays, 0 if arrays[0].ndim == 1 else 1, **options)


@composed(np.dstack)
def _dstack(tup: Any) -> Any:
    return np.concatenate([np.atleast_3d(array) for array in tup], 2)


@composed(np.column_stack)
def _column_stack(tup: Any) -> Any:
    columns = [np.reshape(array, (-1, 1)) if np.ndim(array) < 2 else array for array in tup]
    return np.concatenate(columns, 1)


@composed(np.append)
def _append(arr: Any, values: Any, axis: int | None = None) -> Any:
    if axis is None:
        return np.concatenate([np.ravel(arr), np.ravel(values)])
    return np.concatenate([arr, values], axis)


def _split_along(split: Callable[..., Any], axis_of: Callable[[Any], int]) -> None:
    """Add a function of (array, sections) to the table that splits along the axis ``axis_of(array)``."""

    @composed(split)
    def compose(ary: Any, indices_or_sections: Any) -> Any:
        return np.split(ary, indices_or_sections, axis_of(ary))


def _pieces(split: Any, array: Any, sections: Any, axis: int) -> list[Any]:
    before = (slice(None),) * (axis % array.ndim)
    ranges = split(np.arange(array.shape[axis]), sections)
    starts = [int(piece[0]) if piece.size else 0 for piece in ranges]
    return [array[(*before, slice(start, start + piece.size))] for start, piece in zip(starts, ranges)]


@composed(np.split)
def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    return _pieces(np.split, ary, indices_or_sections, axis)


@composed(np.array_split)
def _array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    return _pieces(np.array_split, ary, indices_or_sections, axis)


_split_along(np.vsplit, lambda array: 0)
_split_along(np.hsplit, lambda array: min(1, array.ndim - 1))
_split_along(np.dsplit, lambda array: 2)

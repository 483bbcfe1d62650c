"""Rows of functions that give the same elements another shape, order of axes or dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.autograd.functions import composed, function


def _same(grad: Any) -> Any:
    return grad


def _reshaped(grad: Any, shape: tuple[int, ...], order: str = "C") -> Any:
    return grad.reshape(shape, order=order)


def _layout(a: Any, order: str) -> str | None:
    """Return the order in which elements are read, "C" or "F"; None where it is neither."""
    if order in ("C", "F") or not isinstance(a, np.ndarray):
        return "C" if order == "K" or order == "A" else order
    if a.flags.c_contiguous:
        return "C"
    return "F" if a.flags.f_contiguous else None


@function(np.reshape, _reshaped)
def _reshape(
    a: Any, /, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: bool | None = None
) -> tuple[Any, Any]:
    resolved = _layout(a, order)
    value = np.asarray(a).reshape(newshape if shape is None else shape, order=order)  # type: ignore[call-overload]
    return value, None if resolved is None else (a.shape, resolved)


@function(np.ravel, _reshaped)
def _ravel(a: Any, order: str = "C") -> Any:
    resolved = _layout(a, order)
    return np.ravel(a, order=order), None if resolved is None else (a.shape, resolved)  # type: ignore[call-overload]


@function(np.copy, _same)
def _copy(a: Any, order: Any = "K", subok: bool = False) -> Any:
    return np.array(a, order=order), ()


@function(np.ndarray.astype, _same, name="astype")
def _astype(
    a: Any, dtype: Any, order: Any = "K", casting: Any = "unsafe", subok: bool = True, copy: bool = True
) -> Any:
    return np.asarray(a).astype(dtype, order, casting, copy=copy)[()], ()


@function(np.real, _same)
def _real(val: Any) -> Any:
    return np.real(val), None if np.iscomplexobj(val) else ()


@function(np.transpose, lambda grad, axes: grad.transpose(axes))
def _transpose(a: Any, axes: Any = None) -> Any:
    value = np.transpose(a, axes)
    return value, (None if axes is None else np.argsort([axis % value.ndim for axis in axes]),)


@function(np.swapaxes, lambda grad, axis1, axis2: grad.swapaxes(axis1, axis2))
def _swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    return np.swapaxes(a, axis1, axis2), (axis1, axis2)


@function(np.moveaxis, lambda grad, source, destination: np.moveaxis(grad, destination, source))
def _moveaxis(a: Any, source: Any, destination: Any) -> Any:
    return np.moveaxis(a, source, destination), (source, destination)


@composed(np.rollaxis)
def _rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    order = [int(index) for index in np.rollaxis(np.empty(range(a.ndim)), axis, start).shape]
    return np.transpose(a, order)


@function(np.squeeze, _reshaped)
def _squeeze(a: Any, axis: Any = None) -> Any:
    return np.squeeze(a, axis), (a.shape,)


@function(np.expand_dims, _reshaped)
def _expand_dims(a: Any, axis: Any) -> Any:
    return np.expand_dims(a, axis), (a.shape,)


def _at_least(dimensions: Any) -> None:
    @composed(dimensions)
    def compute(*arys: Any) -> Any:
        made = [np.reshape(ary, dimensions(np.broadcast_to(0, np.shape(ary))).shape) for ary in arys]
        return made[0] if len(made) == 1 else tuple(made)


for _function in (np.atleast_1d, np.atleast_2d, np.atleast_3d):
    _at_least(_function)


@function(np.broadcast_to, _same)
def _broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    return np.broadcast_to(array, shape), ()


@composed(np.broadcast_arrays)
def _broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    shape = np.broadcast_shapes(*map(np.shape, args))
    return tuple(np.broadcast_to(array, shape) for array in args)


@function(np.flip, lambda grad, axis: np.flip(grad, axis))
def _flip(m: Any, axis: Any = None) -> Any:
    return np.flip(m, axis), (axis,)


@function(np.roll, lambda grad, shift, axis: np.roll(grad, np.negative(shift), axis))
def _roll(a: Any, shift: Any, axis: Any = None) -> Any:
    return np.roll(a, shift, axis), (shift, axis)


if hasattr(np, "matrix_transpose"):  # NumPy 2

    @composed(np.matrix_transpose, np.linalg.matrix_transpose)
    def _matrix_transpose(x: Any) -> Any:
        return np.swapaxes(x, -1, -2)

"""Rows of products of matrices, contractions and norms."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastbp.autograd.functions import TABLE, Elementwise, Join, composed, function
from fastbp.autograd.node import Node
from fastbp.autograd.reductions import Axis, put_back


class MatrixProduct(Elementwise):
    """``numpy.matmul``: its gradients read the other input, and both ``ndim`` in the place of the output."""

    def kept(self, value: Any, values: tuple[Any, ...], nodes: tuple[Node | None, ...]) -> tuple[Any, ...]:
        return ((np.ndim(values[0]), np.ndim(values[1])), *super().kept(value, values, nodes)[1:])


def _matmul_left(grad: Any, dimensions: tuple[int, int], x: Any, y: Any) -> Any:
    of_x, of_y = dimensions
    if of_y == 1:
        return (grad[..., None] if of_x > 1 else grad) * y
    if of_x == 1:
        return (y @ grad[..., None])[..., 0]
    return grad @ y.swapaxes(-1, -2)


def _matmul_right(grad: Any, dimensions: tuple[int, int], x: Any, y: Any) -> Any:
    of_x, of_y = dimensions
    if of_x == 1:
        return grad * x if of_y == 1 else x[:, None] * grad[..., None, :]
    if of_y == 1:
        return (x.swapaxes(-1, -2) @ grad[..., None])[..., 0]
    if of_y == 2 < of_x:  # one product instead of a sum of products
        return x.reshape(-1, x.shape[-1]).T @ grad.reshape(-1, grad.shape[-1])
    return x.swapaxes(-1, -2) @ grad


TABLE[np.matmul] = MatrixProduct(np.matmul, (_matmul_left, _matmul_right), "others")


@composed(np.tensordot)
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    if isinstance(axes, int):
        axes = range(-axes, 0), range(axes)
    axes_a, axes_b = (
        [axis % max(np.ndim(x), 1) for axis in np.atleast_1d(np.asarray(of, int))] for x, of in zip((a, b), axes)
    )
    shape_a, shape_b = np.shape(a), np.shape(b)
    summed = [shape_a[axis] for axis in axes_a]
    if summed != [shape_b[axis] for axis in axes_b]:
        raise ValueError(f"numpy.tensordot sums over axes of equal sizes, got {shape_a} and {shape_b}, axes {axes}")
    left = [axis for axis in range(np.ndim(a)) if axis not in axes_a]
    right = [axis for axis in range(np.ndim(b)) if axis not in axes_b]
    rows, columns = [shape_a[axis] for axis in left], [shape_b[axis] for axis in right]
    x = np.reshape(np.transpose(a, left + axes_a), (prod(rows), prod(summed)))
    y = np.reshape(np.transpose(b, axes_b + right), (prod(summed), prod(columns)))
    return np.reshape(np.matmul(x, y), rows + columns)


@composed(np.dot)
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    if np.ndim(b) <= 2:
        return np.matmul(a, b)
    return np.tensordot(a, b, (-1, -2))


@composed(np.inner)
def _inner(a: Any, b: Any, /) -> Any:
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    return np.tensordot(a, b, (-1, -1))


@composed(np.outer)
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    return np.multiply(np.reshape(a, (-1, 1)), np.reshape(b, (1, -1)))


@composed(np.vdot)
def _vdot(a: Any, b: Any, /) -> Any:
    return np.matmul(np.ravel(a), np.ravel(b))


@composed(np.linalg.multi_dot)
def _multi_dot(arrays: Any) -> Any:
    result = arrays[0]
    for array in arrays[1:]:
        result = np.matmul(result, array)
    return result


# Einstein sums

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def einsum_labels(subscripts: str, arrays: list[Any]) -> tuple[list[str], str]:
    """Return the labels of each operand and of the output, with letters for the axes that "..." stands for."""
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    operands = inputs.split(",")
    free = [letter for letter in _LETTERS if letter not in subscripts]
    hidden = [np.ndim(array) - len(of.replace("...", "")) for of, array in zip(operands, arrays)]
    most = max((count for count, of in zip(hidden, operands) if "..." in of), default=0)
    letters = "".join(free[:most])
    operands = [of.replace("...", letters[most - count :]) for of, count in zip(operands, hidden)]
    if arrow:
        return operands, output.replace("...", letters)
    every = "".join(operands)
    return operands, letters + "".join(sorted(of for of in set(every) - set(letters) if every.count(of) == 1))


def _interleaved(operands: list[Any]) -> tuple[str, list[Any]]:
    """Return the subscripts and the arrays of ``einsum(array, [0, 1], array, [1, 2], ..., [0, 2])``."""
    arrays, lists = operands[: len(operands) // 2 * 2 : 2], operands[1::2]
    parts = ["".join("..." if axis is Ellipsis else _LETTERS[axis] for axis in axes) for axes in lists]
    text = ",".join(parts)
    if len(operands) % 2:
        text += "->" + "".join("..." if axis is Ellipsis else _LETTERS[axis] for axis in operands[-1])
    return text, arrays


def _einsum(arrays: list[Any], subscripts: str, **options: Any) -> Any:
    value = np.einsum(subscripts, *arrays, **options)
    return value, (*arrays, *einsum_labels(subscripts, arrays))


def _einsum_gradients(grad: Any, *kept: Any) -> list[Any]:
    *arrays, operands, output = kept
    gradients = []
    for position, labels in enumerate(operands):
        others = [array for index, array in enumerate(arrays) if index != position]
        known = [output, *(of for index, of in enumerate(operands) if index != position)]
        distinct = "".join(dict.fromkeys(labels))
        found = [label for label in distinct if any(label in of for of in known)]
        summed = np.einsum(f"{','.join(known)}->{''.join(found)}", grad, *others)
        shape = arrays[position].shape
        spread = np.reshape(summed, [summed.shape[found.index(of)] if of in found else 1 for of in distinct])
        if len(distinct) < len(labels):  # a diagonal
            whole = np.zeros(shape, grad.dtype)
            np.einsum(f"{labels}->{distinct}", whole)[...] = spread  # a view
            spread = whole
        gradients.append(spread)
    return gradients


EINSUM = Join("numpy.einsum", _einsum, _einsum_gradients)


@composed(np.einsum)
def _einsum_of(*operands: Any, out: Any = None, **options: Any) -> Any:
    if isinstance(operands[0], str):
        return EINSUM.call((operands[1:], operands[0]), options)
    subscripts, arrays = _interleaved(list(operands))
    return EINSUM.call((arrays, subscripts), options)


# Norms


def _norm_gradient(grad: Any, out: Any, x: Any, axis: Axis) -> Any:
    out = put_back(out, x.shape, axis)
    return put_back(grad, x.shape, axis) * np.where(np.equal(out, 0), 0, x / out)  # 0 at 0, as in PyTorch


@function("norm of 2", _norm_gradient, name="numpy.linalg.norm")
def _euclidean_norm(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    if axis is None:
        value: Any = np.linalg.norm(np.ravel(x))
        value = value.reshape((1,) * np.ndim(x)) if keepdims else value
    else:
        value = np.linalg.norm(x, None, axis, keepdims)  # the Frobenius norm of two axes
    return value, (value, x, axis)


@composed(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    axis = tuple(axis) if isinstance(axis, list) else axis
    axes = tuple(range(np.ndim(x))) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    is_vector = len(axes) == 1
    if ord is None or ord == "fro" or (is_vector and ord == 2):
        if ord == "fro" and len(axes) != 2:
            raise ValueError("Invalid norm order 'fro' for vectors")
        return TABLE["norm of 2"].call((x, axis, keepdims), {})
    size = np.abs(x)
    if is_vector and isinstance(ord, int | float):
        if ord == np.inf or ord == -np.inf:
            return (np.max if ord > 0 else np.min)(size, axes, keepdims=keepdims)
        if ord == 0:
            return np.linalg.norm(np.asarray(x), 0, axis, keepdims)
        return np.sum(size**ord, axes, keepdims=keepdims) ** (1 / ord)
    if len(axes) == 2 and ord in (1, -1, np.inf, -np.inf):
        inner, outer = (axes[0], axes[1]) if abs(ord) == 1 else (axes[1], axes[0])
        sums = np.sum(size, inner, keepdims=True)
        extreme = (np.max if ord > 0 else np.min)(sums, outer, keepdims=True)
        return extreme if keepdims else np.squeeze(extreme, axes)
    raise TypeError(
        f"numpy.linalg.norm of a tensor has no order {ord!r} for {len(axes)} axes; take it of tensor.detach()"
    )

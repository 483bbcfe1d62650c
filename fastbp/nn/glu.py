"""The gated linear unit."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.nn.forward_node import as_it_was, numbers_and_node, record_forward
from fastbp.nn.module import Module, locked
from fastbp.nn.operation import Operation
from fastbp.runtime.buffers import Buffer
from fastbp.validation.arrays import Array, plain, require_floats
from fastbp_kernels import glu_backward, glu_forward


def _half(features: int) -> int:
    return 0 if features % 2 else features // 2


class GLU(Module):
    """One half of the input times the sigmoid of the other, as ``torch.nn.GLU``.

    ``a * sigmoid(b)`` where ``a`` and ``b`` are the halves along an axis: Dauphin, Fan, Auli and Grangier, "Language
    Modeling with Gated Convolutional Networks", 2017.

    Parameters
    ----------
    dim : int
        The axis, of an even length.

    Raises
    ------
    TypeError, ValueError
    """

    def __init__(self, dim: int = -1) -> None:
        if isinstance(dim, bool) or not isinstance(dim, int | np.integer):
            raise TypeError(f"GLU takes dim as the number of an axis, got {dim!r}")
        self._dim = int(dim)
        self._output, self._grad_input = Buffer(), Buffer()

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def _operation(self) -> Operation | None:
        if self._dim not in (-1, 1):
            return None
        return Operation("GLU", takes_rows_only=self._dim != -1, out_features=_half)

    def _checked(self, input: Any) -> Array:
        checked = plain(require_floats(input, "GLU"))
        if not -checked.ndim <= self._dim < checked.ndim or checked.shape[self._dim] % 2:
            raise ValueError(
                f"GLU(dim={self._dim}) takes inputs with an even number of features along that axis, got shape "
                f"{checked.shape}"
            )
        return checked

    def _shape_for(self, input: Array) -> tuple[int, ...]:
        shape = list(input.shape)
        shape[self._dim] //= 2
        return tuple(shape)

    def _compute(self, input: Array, output: Array) -> None:
        if not output.size:
            return
        rows = _as_rows(input, self._dim)
        if self._dim in (-1, output.ndim - 1):
            glu_forward(rows, output.reshape(len(rows), output.shape[-1]))
            return
        computed = np.empty((len(rows), rows.shape[1] // 2), rows.dtype)
        glu_forward(rows, computed)
        _place(computed, output, self._dim)

    @locked
    def forward(self, input: Array) -> Array:
        """Return a tensor with half as many features along the axis, to be read."""
        value, node = numbers_and_node(input)
        checked = self._checked(value)
        slot = self._output.take(self._shape_for(checked), checked.dtype)
        self._compute(checked, slot.array)
        kept = checked, checked.shape, self._dim, self._grad_input
        return record_forward(self, node, slot, _back, kept, self._current().lock, check_kept=_check_kept)

    def predict(self, input: Array) -> Array:
        if not self._takes("predict"):
            return super().predict(input)  # type: ignore[no-any-return]
        checked = self._checked(numbers_and_node(input)[0])
        output = np.empty(self._shape_for(checked), checked.dtype)
        self._compute(checked, output)
        return output

    def extra_repr(self) -> str:
        return f"dim={self._dim}"


def _check_kept(input: Array, shape: tuple[int, ...], *_: Any) -> None:
    as_it_was(input, shape, input.dtype, "GLU")


def _back(
    grad_output: Array, wants_input: bool, input: Array, shape: tuple[int, ...], axis: int, grad_inputs: Buffer
) -> Array | None:
    if not wants_input:
        return None
    array = grad_inputs.take(shape, grad_output.dtype).array
    if array.size:
        rows = _as_rows(as_it_was(input, shape, grad_output.dtype, "GLU"), axis)
        grad_input = np.empty_like(rows)
        glu_backward(_as_rows(grad_output, axis), rows, grad_input)
        _place(grad_input, array, axis)
    return array


def _as_rows(array: Array, axis: int) -> Array:
    """Return the array with the features last, as rows."""
    moved = np.ascontiguousarray(np.moveaxis(array, axis, -1))
    features = moved.shape[-1]
    return moved.reshape(moved.size // max(features, 1), features)


def _place(rows: Array, result: Array, axis: int) -> None:
    """Write rows to an array whose features are along the axis."""
    moved = np.moveaxis(result, axis, -1)
    moved[...] = rows.reshape(moved.shape)

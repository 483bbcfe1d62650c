"""The gated linear unit."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.nn.last_forward import LastForward, token_of_input
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

    _last_forward: LastForward

    def __init__(self, dim: int = -1) -> None:
        if isinstance(dim, bool) or not isinstance(dim, int | np.integer):
            raise TypeError(f"GLU takes dim as the number of an axis, got {dim!r}")
        self._dim = int(dim)
        self._output, self._grad_input, self._last_forward = Buffer(), Buffer(), LastForward()

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

    def _last_axis(self, array: Array) -> Array:
        """Return the array with the features last, as rows."""
        moved = np.ascontiguousarray(np.moveaxis(array, self._dim, -1))
        features = moved.shape[-1]
        return moved.reshape(moved.size // max(features, 1), features)

    def _place(self, rows: Array, result: Array) -> None:
        """Write rows to an array whose features are along the axis."""
        moved = np.moveaxis(result, self._dim, -1)
        moved[...] = rows.reshape(moved.shape)

    def _shape_for(self, input: Array) -> tuple[int, ...]:
        shape = list(input.shape)
        shape[self._dim] //= 2
        return tuple(shape)

    def _compute(self, input: Array, output: Array) -> None:
        if not output.size:
            return
        rows = self._last_axis(input)
        if self._dim in (-1, output.ndim - 1):
            glu_forward(rows, output.reshape(len(rows), output.shape[-1]))
            return
        computed = np.empty((len(rows), rows.shape[1] // 2), rows.dtype)
        glu_forward(rows, computed)
        self._place(computed, output)

    @locked
    def forward(self, input: Array) -> Array:
        """Return an array with half as many features along the axis, to be read."""
        checked, last = self._checked(input), self._last_forward
        slot = self._output.take(self._shape_for(checked), checked.dtype)
        last.forget()
        self._compute(checked, slot.array)
        return last.keep(checked, token_of_input(input), slot, None)

    def predict(self, input: Array) -> Array:
        if not self._takes("predict"):
            return super().predict(input)
        checked = self._checked(input)
        output = np.empty(self._shape_for(checked), checked.dtype)
        self._compute(checked, output)
        return output

    @locked
    def backward(self, grad_output: Array, *, retain_graph: bool = False) -> Array:
        """Return the gradient with respect to the last input; ``retain_graph`` as of any other module."""
        last = self._last_forward
        grad_output = last.checked(grad_output, "GLU", self._output, None, None)
        slot = self._grad_input.take(last.input.shape, last.input.dtype)
        last.spend(retain_graph)
        if grad_output.size:
            rows, grad_rows = self._last_axis(last.input), self._last_axis(grad_output)
            grad_input = np.empty_like(rows)
            glu_backward(grad_rows, rows, grad_input)
            self._place(grad_input, slot.array)
        slot.memory.gradient_for = last.input_token
        return slot.array.view()

    def extra_repr(self) -> str:
        return f"dim={self._dim}"

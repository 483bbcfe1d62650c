"""The module that makes rows of arrays."""

from __future__ import annotations

from typing import Any

from fastbp.nn.forward_node import numbers_and_node, record_forward
from fastbp.nn.module import Module, locked
from fastbp.nn.operation import FLATTEN, Operation
from fastbp.runtime.buffers import Buffer
from fastbp.validation.arrays import Array, plain, require_floats


class Flatten(Module):
    """Joins all axes but the first, as ``torch.nn.Flatten``: (n, a, b) becomes (n, a * b).

    Parameters
    ----------
    start_dim : 1
    end_dim : -1
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        if (start_dim, end_dim) != (1, -1):
            raise ValueError(
                f"Flatten joins all axes but the first, start_dim=1 and end_dim=-1, got {start_dim!r} and {end_dim!r}"
            )
        self._output = Buffer()

    @property
    def _operation(self) -> Operation:
        return FLATTEN

    def _checked(self, input: Any) -> tuple[Array, Array]:
        """Return the input as the kernels take it, and that as rows."""
        checked = plain(require_floats(input, "Flatten"))
        if not checked.ndim:
            raise ValueError("Flatten takes inputs of shape (n, ...), got a number of shape ()")
        features = 1
        for size in checked.shape[1:]:
            features *= size
        return checked, checked.reshape(len(checked), features)

    @locked
    def forward(self, input: Array) -> Array:
        """Return the rows in an array of this module's, to be read."""
        value, node = numbers_and_node(input)
        checked, rows = self._checked(value)
        slot = self._output.take(rows.shape, rows.dtype)
        slot.array[...] = rows
        return record_forward(self, node, slot, _back, (checked.shape,), self._current().lock)

    def predict(self, input: Array) -> Array:
        if not self._takes("predict"):
            return super().predict(input)  # type: ignore[no-any-return]
        return self._checked(numbers_and_node(input)[0])[1].copy()


def _back(grad_output: Array, wants_input: bool, shape: tuple[int, ...]) -> Array:
    return grad_output.reshape(shape)

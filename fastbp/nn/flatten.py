"""The module that makes rows of arrays."""

from __future__ import annotations

from typing import Any

from fastbp.nn.last_forward import LastForward, token_of_input
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

    _last_forward: LastForward

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        if (start_dim, end_dim) != (1, -1):
            raise ValueError(
                f"Flatten joins all axes but the first, start_dim=1 and end_dim=-1, got {start_dim!r} and {end_dim!r}"
            )
        self._output, self._grad_input, self._last_forward = Buffer(), Buffer(), LastForward()

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
        checked, rows = self._checked(input)
        last, slot = self._last_forward, self._output.take(rows.shape, rows.dtype)
        last.forget()
        slot.array[...] = rows
        return last.keep(checked, token_of_input(input), slot, None)

    def predict(self, input: Array) -> Array:
        return self._checked(input)[1].copy() if self._takes("predict") else super().predict(input)

    @locked
    def backward(self, grad_output: Array, *, retain_graph: bool = False) -> Array:
        """Return ``grad_output`` in the last input's shape; ``retain_graph`` as of any other module."""
        last = self._last_forward
        grad_output = last.checked(grad_output, "Flatten", self._output, None, None)
        slot = self._grad_input.take(last.input.shape, last.input.dtype)
        last.spend(retain_graph)
        slot.array[...] = grad_output.reshape(last.input.shape)
        slot.memory.gradient_for = last.input_token
        return slot.array.view()

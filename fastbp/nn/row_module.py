"""The base class of modules that compute each row by itself, in kernels of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.nn.forward_node import numbers_and_node, record_forward, trained
from fastbp.nn.module import Module, locked
from fastbp.nn.parameter import Parameter
from fastbp.runtime.buffers import Buffer
from fastbp.runtime.model_lock import read
from fastbp.validation.arrays import Array, as_rows, plain, require_floats


class RowModule(Module):
    """A module whose output has the shape of its input, computed over rows of the last axis.

    Subclasses define ``_forward_rows``, ``_backward_rows`` and, where a prediction differs, ``_predict_rows``.
    """

    weight: Parameter | None = None
    bias: Parameter | None = None
    _output: Buffer
    _grad_input: Buffer

    def __init__(self) -> None:
        self._output, self._grad_input = Buffer(), Buffer()

    def _checked(self, input: Array) -> Array:
        """Return the input as the kernels take it, or raise TypeError or ValueError."""
        return plain(require_floats(input, type(self).__name__))

    def _rows(self, array: Array) -> Array:
        return as_rows(array) if array.ndim > 1 else array.reshape(1, array.size)

    def _forward_rows(self, input: Array, output: Array) -> tuple[Any, ...]:
        """Write the output for ``input``, both (n, i), and return what ``_backward_rows`` takes besides."""
        raise NotImplementedError

    def _predict_rows(self, input: Array, output: Array) -> None:
        """Write the output for ``input`` where no backward follows: by several threads at a time."""
        self._forward_rows(input, output)

    @staticmethod
    def _backward_rows(grad_output: Array, output: Array, grad_input: Array | None, /, *kept: Any) -> None:
        """Add the gradients of parameters and write ``grad_input``, unless it is None."""
        raise NotImplementedError

    @locked
    def forward(self, input: Array) -> Array:
        """Return a tensor of the input's shape and dtype, to be read; it keeps its numbers while somebody holds it."""
        value, node = numbers_and_node(input)
        checked, weight = self._checked(value), self.weight
        slot = self._output.take(checked.shape, checked.dtype)
        rows = self._rows(slot.array)
        kept = self._forward_rows(self._rows(checked), rows)
        return record_forward(
            self, node, slot, _back, (self._backward_rows, rows, self._grad_input, slot.shape, *kept),
            self._current().lock, trained(weight, self.bias), reads_for_input=() if weight is None else (weight,),
        )  # fmt: skip

    def predict(self, input: Array) -> Array:
        if not self._takes("predict"):
            return super().predict(input)  # type: ignore[no-any-return]
        lock, checked = self._current().lock, self._checked(numbers_and_node(input)[0])

        def compute() -> Array:
            output = np.empty_like(checked)
            self._predict_rows(self._rows(checked), self._rows(output))
            return output

        return read(lock, compute)


def _back(
    grad_output: Array, wants_input: bool, backward_rows: Callable[..., None], output: Array, grad_inputs: Buffer,
    shape: tuple[int, ...], *kept: Any,
) -> Array | None:  # fmt: skip
    grad = grad_output.reshape(output.shape)
    if not wants_input:
        backward_rows(grad, output, None, *kept)
        return None
    array = grad_inputs.take(shape, output.dtype).array
    backward_rows(grad, output, array.reshape(output.shape), *kept)
    return array

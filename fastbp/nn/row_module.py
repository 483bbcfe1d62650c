"""The base class of modules that compute each row by itself, in kernels of their own."""

from __future__ import annotations

import numpy as np

from fastbp.nn.last_forward import LastForward, token_of_input
from fastbp.nn.module import Module, locked
from fastbp.runtime.buffers import Buffer
from fastbp.validation.arrays import Array, as_rows, plain, require_floats


class RowModule(Module):
    """A module whose output has the shape of its input, computed over rows of the last axis.

    Subclasses define ``_forward_rows``, ``_backward_rows`` and, where a prediction differs, ``_predict_rows``.
    """

    _last_forward: LastForward
    _output: Buffer
    _grad_input: Buffer

    def __init__(self) -> None:
        self._output, self._grad_input, self._last_forward = Buffer(), Buffer(), LastForward()

    def _checked(self, input: Array) -> Array:
        """Return the input as the kernels take it, or raise TypeError or ValueError."""
        return plain(require_floats(input, type(self).__name__))

    def _rows(self, array: Array) -> Array:
        return as_rows(array) if array.ndim > 1 else array.reshape(1, array.size)

    def _forward_rows(self, input: Array, output: Array) -> None:
        """Write the output for ``input``, both (n, i), and keep what ``_backward_rows`` needs."""
        raise NotImplementedError

    def _predict_rows(self, input: Array, output: Array) -> None:
        """Write the output for ``input`` where no backward follows: by several threads at a time."""
        self._forward_rows(input, output)

    def _backward_rows(self, grad_output: Array, output: Array, grad_input: Array | None) -> None:
        """Add the gradients of parameters and write ``grad_input``, unless it is None."""
        raise NotImplementedError

    @locked
    def forward(self, input: Array) -> Array:
        """Return an array of the input's shape and dtype, to be read; it keeps its numbers while somebody holds it."""
        checked, last = self._checked(input), self._last_forward
        slot = self._output.take(checked.shape, checked.dtype)
        last.forget()
        self._forward_rows(self._rows(checked), self._rows(slot.array))
        return last.keep(checked, token_of_input(input), slot, self._current().changes)

    def predict(self, input: Array) -> Array:
        if not self._takes("predict"):
            return super().predict(input)
        lock, input = self._current().lock, self._checked(input)
        changes = lock.changes
        output = np.empty_like(input)
        self._predict_rows(self._rows(input), self._rows(output))
        if lock.writer or lock.changes != changes:
            lock.check_reading(changes)
        return output

    @locked
    def backward(self, grad_output: Array, *, retain_graph: bool = False) -> Array:
        """Return the gradient with respect to the last input, and add those of the parameters, if there are any.

        ``retain_graph`` lets another backward follow this one for the same forward.
        """
        last, flat = self._last_forward, self._current()
        grad_output = last.checked(grad_output, type(self).__name__, self._output, flat.changes, flat)
        slot = self._grad_input.take(grad_output.shape, grad_output.dtype)
        last.spend(retain_graph)
        flat.note_grads()
        self._backward_rows(self._rows(grad_output), self._rows(last.output), self._rows(slot.array))
        slot.memory.gradient_for = last.input_token
        return slot.array.view()

    @locked
    def backward_parameters(self, grad_output: Array, *, retain_graph: bool = False) -> None:
        if not self._takes("backward_parameters"):
            super().backward_parameters(grad_output, retain_graph=retain_graph)
            return
        last, flat = self._last_forward, self._current()
        grad_output = last.checked(grad_output, type(self).__name__, self._output, flat.changes, flat)
        last.spend(retain_graph)
        flat.note_grads()
        self._backward_rows(self._rows(grad_output), self._rows(last.output), None)

"""The residual block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fastbp.nn.last_forward import LastForward, token_of_input, token_of_output
from fastbp.nn.module import Module, locked
from fastbp.nn.sequential import Sequential
from fastbp.runtime.buffers import Buffer
from fastbp.validation.arrays import Array


class Residual(Module):
    """``output = input + modules(input)``: He et al., "Deep Residual Learning for Image Recognition", 2016.

    Parameters
    ----------
    *modules : Module, or one mapping of str to Module
        As of ``Sequential``; their output has the shape of their input.
    """

    _last_forward: LastForward
    _inner: Sequential

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        if not modules:
            raise ValueError("Residual takes one module or more, got none")
        self._inner = Sequential(*modules)
        self._output, self._grad_input, self._last_forward = Buffer(), Buffer(), LastForward()
        self._grad_inner = Buffer()

    @property
    def _branch(self) -> Sequence[Module]:  # type: ignore[override]
        return list(self._inner._leaves())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        yield from self._inner.named_children()

    def __len__(self) -> int:
        return len(self._inner)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._inner)

    def __getitem__(self, index: int) -> Module:
        return self._inner[index]

    @locked
    def forward(self, input: Array) -> Array:
        """Return the output for ``input``, to be read; it keeps its numbers while somebody holds it."""
        inner, last = self._inner(input), self._last_forward
        self._inner_token = token_of_output(inner)
        try:
            self._require_same_shape(input.shape, inner.shape)
        except ValueError:
            self._inner._plan.forward_state.put_back()  # which the forward within has kept
            raise
        slot = self._output.take(inner.shape, inner.dtype)
        last.forget()
        _add(input, inner, slot.array)
        return last.keep(input, token_of_input(input), slot, self._current().changes)

    def predict(self, input: Array) -> Array:
        if not self._takes("predict"):
            return super().predict(input)
        inner = self._inner.predict(input)
        self._require_same_shape(input.shape, inner.shape)
        _add(input, inner, inner)
        return inner

    @locked
    def backward(self, grad_output: Array, *, retain_graph: bool = False) -> Array:
        """Add to the gradients of all parameters and return the gradient with respect to the last input.

        ``retain_graph`` lets another backward follow this one for the same forward.
        """
        last, flat = self._last_forward, self._current()
        grad_output = last.checked(grad_output, "Residual", self._output, flat.changes, flat)
        slot = self._grad_input.take(grad_output.shape, grad_output.dtype)
        of_inner = self._grad_inner.take(grad_output.shape, grad_output.dtype)
        of_inner.array[...] = grad_output  # which is marked as that for another output
        of_inner.memory.gradient_for = self._inner_token
        inner = self._inner.backward(of_inner.array.view(), retain_graph=retain_graph)
        last.spend(retain_graph)
        _add(inner, grad_output, slot.array)
        slot.memory.gradient_for = last.input_token
        return slot.array.view()

    def _require_same_shape(self, taken: tuple[int, ...], returned: tuple[int, ...]) -> None:
        if taken != returned:
            raise ValueError(
                f"Residual takes modules whose output has the shape of their input, got {returned} for {taken}"
            )


def _add(one: Array, other: Array, out: Array) -> None:
    with np.errstate(all="ignore"):  # numbers beyond the dtype become infinite in silence, as in the kernels
        np.add(one, other, out=out)

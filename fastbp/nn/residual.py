"""The residual block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fastbp.autograd.functions import TABLE, record, unwrap
from fastbp.autograd.tensor import wrap
from fastbp.nn.forward_node import LastPass
from fastbp.nn.module import Module, locked
from fastbp.nn.sequential import Sequential, entered
from fastbp.runtime.buffers import Buffer
from fastbp.validation.arrays import Array


class Residual(Module):
    """``output = input + modules(input)``: He et al., "Deep Residual Learning for Image Recognition", 2016.

    Parameters
    ----------
    *modules : Module, or one mapping of str to Module
        As of ``Sequential``; their output has the shape of their input.
    """

    _inner: Sequential

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        if not modules:
            raise ValueError("Residual takes one module or more, got none")
        self._inner = Sequential(*modules)
        self._output = Buffer()

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
        start, entry, is_outer = entered(input, type(self).__name__)
        inner, of_inner = unwrap(self._inner(start))
        value, _ = unwrap(start)
        try:
            self._require_same_shape(value.shape, inner.shape)
        except ValueError:
            self._inner._plan.forward_state.put_back()  # which the forward within has kept
            raise
        slot = self._output.take(inner.shape, inner.dtype)
        _add(value, inner, slot.array)
        output = record(TABLE[np.add], (entry, of_inner), slot.readonly.view(), (None, None, None))
        root = output._node
        vars(self)["_last_pass"] = None if root is None else LastPass(root, entry)
        requires = is_outer or any(parameter.requires_grad for parameter in self.parameters())
        return output if requires else wrap(output._value, None)

    def predict(self, input: Array) -> Array:
        if not self._takes("predict"):
            return super().predict(input)  # type: ignore[no-any-return]
        inner = self._inner.predict(input)
        self._require_same_shape(np.shape(input), inner.shape)
        _add(unwrap(input)[0], inner, inner)
        return inner

    def _require_same_shape(self, taken: tuple[int, ...], returned: tuple[int, ...]) -> None:
        if taken != returned:
            raise ValueError(
                f"Residual takes modules whose output has the shape of their input, got {returned} for {taken}"
            )


def _add(one: Array, other: Array, out: Array) -> None:
    with np.errstate(all="ignore"):  # numbers beyond the dtype become infinite in silence, as in the kernels
        np.add(one, other, out=out)

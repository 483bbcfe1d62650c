"""Forward and backward of a whole network in one compiled call each, as if its modules had been called one by one."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastbp.engine.plan import Plan
from fastbp.nn.forward_node import as_it_was, numbers_and_node, record_forward, refuse_changed, trained
from fastbp.runtime.buffers import Buffer
from fastbp.runtime.threads import whole_or_shared
from fastbp.validation.arrays import Array, as_rows
from fastbp_kernels.network.chain import chain_backward, chain_forward
from fastbp_kernels.parallel.barrier import SYNC_SIZE

_forward_alone = partial(chain_forward, 0, 1)
_backward_alone = partial(chain_backward, 0, 1)


class _Layout(NamedTuple):
    """Where in a pass's memory each layer between the first and the last has its part, for up to so many rows."""

    rows: int
    layers: Array
    size: int


class Chain:
    """The modules of a network as one: no module of it has a last forward of its own after a forward of the chain.

    Parameters
    ----------
    plan : Plan
    outputs : Buffer
        Of the model, whose outputs stay in it when another chain takes over.
    """

    def __init__(self, plan: Plan, outputs: Buffer) -> None:
        self.plan = plan
        self.leaves = trained(*plan.parameters)
        first = plan.first.weight
        self.storage = first.storage
        weights = [parameter for parameter in plan.parameters if len(parameter.shape) > 1]
        self.reads = tuple(weight for weight in weights if weight is not first)
        # Operations of a row's products without and with the gradient of the input.
        both = 4 * plan.parameter.size
        self.backward_flop = both - 2 * first.size, both
        self.sync = np.zeros(SYNC_SIZE, np.int64)
        self.no_grad_input = np.empty((0, plan.first.in_features), plan.dtype)
        self.grad_input = Buffer()
        self._output, self._memory = outputs, Buffer()
        self._layout = self._layout_for(0)

    def _layout_for(self, rows: int) -> _Layout:
        return _Layout(rows, *self.plan.layout(rows, padded=False))

    def forward(self, module: Any, input: Any) -> Array:
        """Return the output for ``input``, which the first layer checks, as a forward of ``module``."""
        plan = self.plan
        value, node = numbers_and_node(input)
        checked = plan.first._checked(value)
        rows, shape = as_rows(checked), checked.shape
        layout = self._layout
        if len(rows) > layout.rows:
            layout = self._layout_for(len(rows))
        slot = self._output.take((*shape[:-1], plan.out_features), plan.dtype)
        memory = self._memory.take((layout.size,), plan.dtype).array  # the pass's own until its backward
        forward = whole_or_shared(plan.flop * len(rows), _forward_alone, chain_forward)
        self._layout = layout  # now that there is memory for so many rows
        forward(layout.layers, plan.parameter, plan.scalars, memory, rows, slot.rows)
        return record_forward(
            module, node, slot, _back, (self, layout.layers, memory, checked, shape, slot.rows), plan.lock,
            self.leaves, reads=self.reads, reads_for_input=(plan.first.weight,), check_kept=_check_kept,
        )  # fmt: skip


def _check_kept(chain: Chain, layers: Array, memory: Array, input: Array, shape: tuple[int, ...], *_: Any) -> None:
    as_it_was(input, shape, chain.plan.dtype, "a network")
    for parameter in chain.leaves:
        if parameter.storage is not chain.storage:  # gradients would be added to memory that nobody reads
            refuse_changed("a network")


def _back(
    grad_output: Array, wants_input: bool, chain: Chain, layers: Array, memory: Array, input: Array,
    shape: tuple[int, ...], output: Array,
) -> Array | None:  # fmt: skip
    """Add the gradients of all parameters and return that of the input."""
    plan, grad_input, grad_rows = chain.plan, None, chain.no_grad_input
    rows = as_rows(as_it_was(input, shape, plan.dtype, "a network"))
    if wants_input:
        slot = chain.grad_input.take(shape, plan.dtype)
        grad_input, grad_rows = slot.array, slot.rows
    backward = whole_or_shared(chain.backward_flop[wants_input] * len(rows), _backward_alone, chain_backward)
    backward(
        chain.sync, layers, plan.parameter, plan.scalars, plan.grad, memory, rows, output, as_rows(grad_output),
        grad_rows, wants_input,
    )  # fmt: skip
    return grad_input

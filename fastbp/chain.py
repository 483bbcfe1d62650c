"""Forward and backward of a whole network in one compiled call each, as if its modules had been called one by one."""

from __future__ import annotations

from functools import partial
from math import prod
from operator import is_

import numpy as np

from fastbp.arrays import Array, aligned_zeros, as_rows
from fastbp.nn.linear import Linear
from fastbp.plan import Plan
from fastbp.threads import whole_or_shared
from fastbp_kernels import table
from fastbp_kernels.barrier import SYNC_SIZE
from fastbp_kernels.chain import chain_backward, chain_forward

_forward_alone = partial(chain_forward, 0, 1)
_backward_alone = partial(chain_backward, 0, 1)


class Chain:
    """The modules of a network as one, with memory for their outputs and gradients.

    After a forward every module remembers its part of it, so that its own ``backward`` may follow.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._last_forwards = [last for module in plan.modules if (last := module._last_forward)]
        # Operations of a row's products without and with the gradient of the input.
        both = 4 * plan.parameter.size
        self._backward_flop = both - 2 * plan.first.weight.size, both
        self._sync = np.zeros(SYNC_SIZE, np.int64)
        self._most_rows = -1  # that memory was laid out for
        self._shape: tuple[int, ...] | None = None  # of the input that memory is divided for
        self._handed_out: list[Array] = []  # what each module remembers as its output, where it is this chain's

    def forward(self, input: Array) -> Array:
        """Return the output for ``input``, which the first layer checks; the next ``forward`` overwrites it."""
        plan = self.plan
        input = plan.first._checked(input)
        if input.shape != self._shape:
            self._divide_memory(input.shape)
        if input.base is self._memory.base:  # an array that this chain handed out and is about to write
            input = input.copy()
        rows = as_rows(input)
        forward = whole_or_shared(plan.flop * len(rows), _forward_alone, chain_forward)
        forward(self._sync, self._layers, plan.parameter, self._memory, rows)
        if self._is_remembered():
            plan.first._last_forward.given = input
        else:
            self._remember(input)
        return self._outputs[-1].view()

    @property
    def is_last_forward(self) -> bool:
        """Whether the last forward of all modules was this chain's and its input is as it was.

        Both backwards need that. Where it is not so, the modules one by one tell what is wrong, or do it.
        """
        given = self.plan.first._last_forward.given
        if given is None or given.shape != self._shape or given.dtype != self.plan.dtype:
            return False
        return self._is_remembered()

    def backward(self, grad_output: Array) -> Array:
        """Add the gradients of all parameters and return that of the input; the next ``backward`` overwrites it."""
        self._run_backward(grad_output, True)
        return self._grad_input.view()

    def backward_parameters(self, grad_output: Array) -> None:
        """Add the gradients of all parameters."""
        self._run_backward(grad_output, False)

    def _run_backward(self, grad_output: Array, wants_grad_input: bool) -> None:
        plan = self.plan
        grad_rows = as_rows(self._last_forwards[-1].checked(grad_output, plan.modules[-1]))
        rows = as_rows(plan.first._last_forward.input)
        flop = self._backward_flop[wants_grad_input] * len(rows)
        backward = whole_or_shared(flop, _backward_alone, chain_backward)
        backward(
            self._sync, self._layers, plan.parameter, plan.grad, self._memory, rows, grad_rows, wants_grad_input,
        )  # fmt: skip

    def _divide_memory(self, shape: tuple[int, ...]) -> None:
        """Find the outputs and the gradient for an input of ``shape`` in memory, in more of it if need be.

        What is handed out lies at the same place for every shape: who still has it from a larger batch, to read or to
        write, does not touch other outputs.
        """
        plan, rows = self.plan, prod(shape[:-1])
        self._shape = None  # until all is found, the modules go on from what they remember
        if rows > self._most_rows:
            layers, size = plan.layout(rows, padded=False)
            self._memory, self._layers, self._most_rows = aligned_zeros(size, plan.dtype), layers, rows
        memory, outputs = self._memory, []
        places = iter(self._layers[:, [table.Y, table.OUT]].tolist())
        for module in plan.modules:
            if type(module) is Linear:  # an activation writes where it reads
                start, features = next(places)
                output = memory[start : start + rows * features].reshape(*shape[:-1], features)
            outputs.append(output)
        self._grad_input = memory[: prod(shape)].reshape(shape)
        self._outputs = self._handed_out = outputs
        self._shape = shape

    def _remember(self, input: Array) -> None:
        """Leave in every module what it needs for a backward of its own."""
        handed_out = []
        for last, output in zip(self._last_forwards, self._outputs):
            input = last.keep(input, output)
            handed_out.append(input)
        self._handed_out = handed_out

    def _is_remembered(self) -> bool:
        return all(map(is_, [last.handed_out for last in self._last_forwards], self._handed_out))

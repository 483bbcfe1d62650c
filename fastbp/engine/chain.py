"""Forward and backward of a whole network in one compiled call each, as if its modules had been called one by one."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import NamedTuple

import numpy as np

from fastbp.engine.plan import Plan
from fastbp.nn.last_forward import LastForward, new_token, token_of_input
from fastbp.nn.linear import Linear
from fastbp.runtime.buffers import Buffer
from fastbp.runtime.threads import whole_or_shared
from fastbp.validation.arrays import Array, aligned_zeros, as_rows, plain
from fastbp_kernels.layers import table
from fastbp_kernels.network.chain import chain_backward, chain_forward
from fastbp_kernels.parallel.barrier import SYNC_SIZE

_forward_alone = partial(chain_forward, 0, 1)
_backward_alone = partial(chain_backward, 0, 1)


class _Scratch(NamedTuple):
    """Memory for what the layers between the first and the last hand on, and where each of them has its part.

    Attributes
    ----------
    rows : int
        For which there is room.
    layers : ndarray
        The engine's table.
    memory : ndarray
    """

    rows: int
    layers: Array
    memory: Array


class Chain:
    """The modules of a network as one, with memory for their outputs and gradients.

    After a forward of the chain its modules have that as their last forward too, so that their own ``backward`` may
    follow: ``hand_over`` gives them what they need for it.

    Parameters
    ----------
    plan : Plan
    outputs : Buffer
        Of the model, whose outputs stay in it when another chain takes over.

    Attributes
    ----------
    last : LastForward
        Of the chain.
    is_whole : bool
        Whether no module was called by itself since.
    tokens : set of int
        Of the modules' parts, after ``hand_over``.
    """

    def __init__(self, plan: Plan, outputs: Buffer) -> None:
        self.plan = plan
        self.last = LastForward()
        self.is_whole = False
        self.tokens: set[int | None] = set()
        self._parts = [last for module in plan.modules if (last := module._last_forward) is not None]
        self._name = type(plan.modules[-1]).__name__
        # Operations of a row's products without and with the gradient of the input.
        both = 4 * plan.parameter.size
        self._backward_flop = both - 2 * plan.first.weight.size, both
        self._sync = np.zeros(SYNC_SIZE, np.int64)
        self._output, self._grad_input = outputs, Buffer()
        self._no_grad_input = np.empty((0, plan.first.in_features), plan.dtype)
        self._scratch = _scratch_for(plan, 0)
        self._shape: tuple[int, ...] | None = None  # of the last input
        self._output_shape: tuple[int, ...] = ()

    def forward(self, input: Array) -> Array:
        """Return the output for ``input``, which the first layer checks."""
        plan, scratch = self.plan, self._scratch
        checked = plan.first._checked(input)
        shape, output_shape = checked.shape, self._output_shape
        if shape != self._shape:
            output_shape = (*shape[:-1], plan.out_features)
            if prod(shape[:-1]) > scratch.rows:
                scratch = _scratch_for(plan, prod(shape[:-1]))
        slot = self._output.take(output_shape, plan.dtype)
        rows = as_rows(checked)
        forward = whole_or_shared(plan.flop * len(rows), _forward_alone, chain_forward)
        if not self.is_whole:
            self._take_over()
        self.last.token = None  # what it left in memory is about to be written over
        forward(scratch.layers, plan.parameter, plan.scalars, scratch.memory, rows, slot.rows)
        self._scratch, self._shape, self._output_shape = scratch, shape, output_shape
        input_token = token_of_input(input) if type(input.base) is np.ndarray else None
        return self.last.keep(checked, input_token, slot, plan.lock.changes)

    def backward(self, grad_output: Array, retain_graph: bool) -> Array:
        """Add the gradients of all parameters and return that of the input."""
        assert self._shape is not None
        slot = self._grad_input.take(self._shape, self.plan.dtype)
        self._run_backward(grad_output, slot.rows, True, retain_graph)
        slot.memory.gradient_for = self.last.input_token
        return slot.array.view()

    def backward_parameters(self, grad_output: Array, retain_graph: bool) -> None:
        """Add the gradients of all parameters."""
        self._run_backward(grad_output, self._no_grad_input, False, retain_graph)

    def require_backward(self, token: int | None) -> None:
        """Raise RuntimeError unless a backward may follow of the gradient for the output of this token."""
        self.last.require_whole(self._name)
        self.last.require_unspent(self._name, self.plan.lock.changes, self.plan.flat)
        if token is None:
            self.last.require_no_other(self._name, self._output)
        else:
            self.last.require_token(self._name, token)

    def _run_backward(self, grad_output: Array, grad_input: Array, wants_grad_input: bool, retain_graph: bool) -> None:
        plan, last, scratch = self.plan, self.last, self._scratch
        grad_rows = as_rows(last.checked(grad_output, self._name, self._output, plan.lock.changes, plan.flat))
        rows = as_rows(plain(last.input))
        flop = self._backward_flop[wants_grad_input] * len(rows)
        backward = whole_or_shared(flop, _backward_alone, chain_backward)
        plan.flat.note_grads()
        backward(
            self._sync, scratch.layers, plan.parameter, plan.scalars, plan.grad, scratch.memory, rows,
            last.spend(retain_graph), grad_rows, grad_input, wants_grad_input,
        )  # fmt: skip

    def _take_over(self) -> None:
        """Have the last forward of every module from now on."""
        for part in self._parts:
            part.forget()
            part.chain = self
        self.is_whole = True

    def hand_over(self) -> None:
        """Give every module that was not called by itself since its own part of the last forward."""
        whole, parts = self.last, self._parts
        self.is_whole = False
        if whole.token is None:
            for part in parts:
                if part.chain is self:
                    part.chain = None
            return
        self.tokens.clear()
        input, input_token = whole.input, whole.input_token
        for module, part, output in zip(self.plan.modules, parts, self._outputs(), strict=True):
            token = whole.token if part is parts[-1] else new_token()
            self.tokens.add(token)
            if part.chain is self:
                activation = module._activation
                of_part = activation is None, activation is not None and activation.keeps_derivative
                part.keep_part(whole, self._output, input, input_token, output, token, *of_part)
            input, input_token = output, token

    def _outputs(self) -> list[Array]:
        """Return the last output of each module; an activation has written where it read, unless that is kept.

        That of a ``Linear`` may be the derivative of the activation behind it: see ``input_is_derivative``.
        """
        layers, memory, whole = self._scratch.layers, self._scratch.memory, self.last
        before, n = whole.output.shape[:-1], prod(whole.output.shape[:-1])
        outputs: list[Array] = []
        rows = iter(layers[:, [table.Z, table.Y, table.OUT]].tolist())
        left = len(layers)
        for module in self.plan.modules:
            if type(module) is Linear:
                z, y, features = next(rows)
                left -= 1
                output = whole.output if not left else memory[y : y + n * features].reshape(*before, features)
                kept = output if z < 0 else memory[z : z + n * features].reshape(*before, features)
                outputs.append(kept)
            else:
                outputs.append(output)
        return outputs


def _scratch_for(plan: Plan, rows: int) -> _Scratch:
    layers, size = plan.layout(rows, padded=False)
    return _Scratch(rows, layers, aligned_zeros(size, plan.dtype))

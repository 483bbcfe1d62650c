"""What a module keeps of its last forward for its backward, and whether a backward belongs to it.

Each forward has a token. The memory of its output carries it, and so does that of the gradient which a loss or a module
computes for this output. A gradient that is handed to a module must be for the output of the module's last forward.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from fastbp.runtime.buffers import Buffer, Slot, memory_of
from fastbp.runtime.model_lock import latest_change
from fastbp.validation.arrays import Array, as_rows, plain, require_floats

if TYPE_CHECKING:
    from fastbp.engine.chain import Chain
    from fastbp.nn.parameter import FlatView

_NOTHING = np.empty(0, np.float32)
_tokens = count(1)


def new_token() -> int:
    """Return a token that no forward has had."""
    return next(_tokens)


def token_of_output(array: Array) -> int | None:
    """Return the token of the forward that handed ``array`` out as its output, or None."""
    memory = memory_of(array)
    return None if memory is None else memory.output_of


def token_of_input(array: Array) -> int | None:
    """Return the same for the input of another forward, which will hand out the gradient for it with this token."""
    memory = memory_of(array)
    if memory is None:
        return None
    memory.input_since = memory.output_of
    return memory.output_of


def has_token(gradient: Array) -> bool:
    """Whether it is known for which forward's output ``gradient`` is."""
    memory = memory_of(gradient)
    return memory is not None and memory.gradient_for is not None


class LastForward:
    """The last forward of a module, or of a chain of modules. Copies and pickles of it are empty.

    Attributes
    ----------
    token : int or None
        None before the first forward.
    input : ndarray
        As the kernels take it; a copy only where it did not come like that.
    input_token : int or None
        Of the forward whose output the input was.
    input_is_derivative : bool
        Whether a chain has replaced the input of an activation by the derivative there.
    is_spent : bool
        Whether a backward has followed.
    chain : Chain or None
        What ran this forward together with those of other modules, and keeps what belongs to it until it is asked.
    """

    __slots__ = (
        "_chain_outputs", "_changes", "_changes_then", "_output", "_shape", "_slot", "chain", "input",
        "input_is_derivative", "input_token", "is_spent", "token",
    )  # fmt: skip

    input: Array
    input_token: int | None
    input_is_derivative: bool
    is_spent: bool
    token: int | None
    chain: Chain | None
    _chain_outputs: Buffer | None
    _output: Array | None
    _slot: Slot | None

    def __init__(self) -> None:
        self.chain = None
        self.forget()

    def forget(self) -> None:
        """Have no forward, when memory of the last one is about to be written over; hold nothing of it."""
        if self.chain is not None:
            self.chain.is_whole = False
        self.chain = self.token = self._output = self._slot = self._chain_outputs = None
        self.input, self.input_is_derivative = _NOTHING, False

    def keep(self, input: Array, input_token: int | None, slot: Slot, changes: object) -> Array:
        """Note a forward, and return its output as the caller gets it: to be read.

        Parameters
        ----------
        input : ndarray
            Kept itself, not as a view: ``numpy.ndarray.resize`` could take the memory from under a view.
        input_token : int or None
        slot : Slot
            Holds the output.
        changes : object
            The ``changes`` of the parameters; None for a module without any.
        """
        slot.awaits_backward, self._changes = True, changes
        slot.changes = self._changes_then = latest_change() if changes is None else changes
        self.input, self._shape, self.input_token = input, input.shape, input_token
        self._output = self._chain_outputs = self.chain = None
        self._slot, self.is_spent = slot, False
        slot.memory.output_of = self.token = next(_tokens)
        return slot.readonly.view()

    def keep_part(
        self, whole: LastForward, outputs: Buffer, input: Array, input_token: int | None, output: Array, token: int,
        depends: bool, input_is_derivative: bool,
    ) -> None:  # fmt: skip
        """Note a part of the forward of a chain, whose last part has its output, from its ``outputs``.

        ``depends`` tells whether it is one with parameters.
        """
        self.input_is_derivative = input_is_derivative
        self.input, self.input_token = input, input_token
        self._shape = whole._shape if input is whole.input else input.shape  # as it was then
        self._slot = whole._slot if output is whole.output else None
        self._output, self._chain_outputs = (None, outputs) if self._slot else (output, None)
        self._changes, self.is_spent, self.chain = whole._changes if depends else None, whole.is_spent, None
        self._changes_then = whole._changes_then
        self.token = token

    def follows(self, before: LastForward) -> bool:
        """Whether this forward took the output of the one before, as far as its input tells."""
        if self.input_token is None:
            return self._shape == before.output.shape
        return self.input_token == before.token

    @property
    def output(self) -> Array:
        """For the module alone, in a slot that counts as free once its user gives it up: it is not held here."""
        if self._slot is not None:
            return self._slot.array
        assert self._output is not None
        return self._output

    def checked(self, grad_output: Array, name: str, outputs: Buffer, changes: object, flat: FlatView | None) -> Array:
        """Return ``grad_output`` as the kernels take it, or raise unless it is a gradient for the last output.

        Parameters
        ----------
        grad_output : ndarray
        name : str
            Of the module, for errors.
        outputs : Buffer
            From which the last output and those before it are.
        changes : object
            As ``keep`` takes it.
        flat : FlatView or None
            The parameters; None for a module without any.
        """
        if self.token is None or self.input.shape != self._shape:
            self.require_whole(name)
        output = self.output if self._slot is None else self._slot.array
        if self.input.dtype is not output.dtype:
            self.require_whole(name)
        if type(grad_output) is not np.ndarray or grad_output.dtype is not output.dtype:
            require_floats(grad_output, f"{name}.backward", output.dtype)
        if grad_output.shape != output.shape:
            raise ValueError(
                f"{name}.backward takes a gradient of the last output's shape {output.shape}, got {grad_output.shape}"
            )
        if self.is_spent or self._changes != changes:
            self.require_unspent(name, changes, flat)
        memory = memory_of(grad_output)
        if memory is None or memory.gradient_for is None:
            self.require_no_other(name, outputs)
            if self._chain_outputs is not None:
                self.require_no_other(name, self._chain_outputs)
        elif memory.gradient_for != self.token:
            self.require_token(name, memory.gradient_for)
        return plain(grad_output)

    def spend(self, retain_graph: bool) -> Array:
        """Note that a backward follows, at the last moment before it changes anything; return the output as rows."""
        self.is_spent = not retain_graph
        slot = self._slot
        if slot is None:
            return as_rows(self.output) if self.output.ndim else self.output
        slot.awaits_backward = False
        return slot.rows

    def require_token(self, name: str, token: int) -> None:
        """Raise RuntimeError unless a gradient for the output of this token is one for the last output."""
        if token != self.token:
            raise RuntimeError(
                f"{name}.backward takes the gradient for its last output, got that for another output; let forward, "
                "loss and backward follow each other, and call predict where no backward is to follow"
            )

    def require_whole(self, name: str) -> None:
        """Raise RuntimeError unless there was a forward and its input is the array that it was."""
        if self.token is None:
            raise RuntimeError(f"{name}.backward needs a forward before it: call the module on an input first")
        input, output = self.input, self.output
        if input.shape != self._shape or input.dtype != output.dtype:
            raise RuntimeError(
                f"{name}.backward needs the array of the last forward as it was, {output.dtype} of shape "
                f"{self._shape}, got {input.dtype} {input.shape} since; give forward a copy"
            )

    def require_unspent(self, name: str, changes: object, flat: FlatView | None) -> None:
        """Raise RuntimeError if a backward has followed already, or the parameters are not those of the forward."""
        if self.is_spent:
            raise RuntimeError(
                f"{name}.backward was called for the last forward already; call forward again, or give the first of "
                "several backwards retain_graph=True"
            )
        if self._changes != changes and not (flat is not None and flat.unchanged_since(self._changes)):
            raise RuntimeError(
                f"{name}.backward needs the parameters of the last forward, and they were changed or moved since, by a "
                "step, a training, load_state_dict or a new Sequential; call forward again"
            )

    def require_no_other(self, name: str, outputs: Buffer) -> None:
        """Raise RuntimeError if a gradient without a token may be that for another output which the user still holds.

        That is one of the same shape which the same parameters computed and no backward has followed.
        """
        shape, changes = self.output.shape, self._changes_then
        for slot in outputs.slots:
            waits = slot.awaits_backward and slot.shape == shape and slot.changes == changes
            if waits and slot is not self._slot and slot.is_held_by_user():
                raise RuntimeError(
                    f"{name}.backward goes with the last forward, and you hold the output of an earlier one that no "
                    "backward has followed: this gradient may be for either; call predict where none is to follow"
                )

    def __reduce__(self) -> tuple[type[LastForward], tuple[()]]:
        return LastForward, ()

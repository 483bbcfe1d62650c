"""What the modules remember of their forwards, as the contract says it: whose backward may follow, and when."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy
from kinds import has_own, leaves

TAKEN, REFUSED, EITHER = "taken", "refused", "either"


@dataclass(eq=False)
class Forward:
    """A call of a module.

    ``values`` are an oracle's, or None where nothing can be compared; ``x`` is the input while a leaf remembers it;
    ``source`` is the forward whose output that was; ``before`` the last forward of the same module.
    """

    owner: Any
    leaves: list
    values: list | None
    x: numpy.ndarray | None
    shape: tuple
    out_shape: tuple
    source: Forward | None
    before: Forward | None
    changes: frozenset
    own_changes: frozenset
    has_token: bool
    twin: Any  # a copy of the module after this forward, where no oracle has values
    awaits: bool = True
    is_input: bool = False  # of another forward, which holds its output too

    @property
    def is_whole(self):
        """Whether its input is the array that it was."""
        return self.x is None or self.x.shape == self.shape

    def waits_beside(self, last):
        """Whether it is another one than the ``last``, and a backward may still follow."""
        return self.has_token and self.awaits and self is not last


@dataclass(eq=False)
class Part:
    """A forward as one leaf remembers it."""

    forward: Forward
    is_spent: bool = False


@dataclass(eq=False)
class Handed:
    """An array that went in or came out, for whose output it is a gradient, or what numbers it has to keep."""

    array: numpy.ndarray
    forward: Forward | None
    shape: tuple
    numbers: numpy.ndarray | None = None

    @classmethod
    def of(cls, array, forward, numbers=None):
        return cls(array, forward, array.shape, numbers)

    @property
    def token(self):
        """The forward that the library can tell from the array: it must be whole."""
        return self.forward if self.array.shape == self.shape else None


class Remembered:
    """Everything that decides what becomes of a backward."""

    def __init__(self):
        self.parts = {}  # by leaf; a leaf of which nothing is known is missing
        self.versions = Counter()  # by storage and by parameter: their changes
        self.last = {}  # by module: its last forward while nothing about its structure changed
        self.outputs = []  # Handed, with their numbers
        self.inputs = []  # Handed: outputs of others among them

    def changes_of(self, module):
        storages = {parameter.storage for parameter in module.parameters()}
        return frozenset((storage, self.versions[storage]) for storage in storages)

    def own_changes_of(self, module):
        return frozenset((parameter, self.versions[parameter]) for parameter in module.parameters())

    def note_change(self, parameters):
        """Parameters were changed by the library: their forwards are over, those of others in their storages may be."""
        parameters = list(parameters)
        for parameter in parameters:
            self.versions[parameter] += 1
        for storage in {parameter.storage for parameter in parameters}:
            self.versions[storage] += 1

    def note_structure(self, *changed):
        """Modules were built, tied or given methods; of ``changed`` leaves nothing is known any more."""
        self.last = {}
        self.let_go(*changed)

    def let_go(self, *leaves):
        """Forget what they remember, and hold no input that nobody remembers: a held one counts as the user's."""
        gone = {self.parts.pop(leaf).forward for leaf in leaves if leaf in self.parts}
        for forward in gone - {part.forward for part in self.parts.values()}:
            forward.x = None

    def note_over(self, leaf):
        """No backward may follow the last forward of ``leaf``."""
        if leaf in self.parts:
            self.parts[leaf].is_spent = True

    def note_forward(self, module, values, x, output, source, twin=None):
        own = leaves(module)
        forward = Forward(
            module, own, values, x, x.shape, output.shape, source, self.last.get(module),
            self.changes_of(module), self.own_changes_of(module), not output.flags.writeable, twin,
        )  # fmt: skip
        self.last[module] = forward
        self.let_go(*own)
        for leaf in own:
            self.parts[leaf] = Part(forward)
        if source is not None:
            source.is_input = True
        return forward

    def note_backward(self, module, retains):
        for leaf in leaves(module):
            part = self.parts.get(leaf)
            if part is not None:
                part.is_spent = not retains
                if part.forward.leaves[-1] is leaf:
                    part.forward.awaits = False

    def forget_values(self, array):
        """``array`` was written: forwards that kept it cannot be compared."""
        for part in self.parts.values():
            if numpy.may_share_memory(part.forward.x, array):
                part.forward.values = part.forward.twin = None

    def verdict(self, module, gradient):
        """Return the forward to which all parts agree, or None, and what must become of a backward of ``module``."""
        own = leaves(module)
        parts = [self.parts.get(leaf) for leaf in own]
        if None in parts:
            return None, EITHER
        forward = parts[0].forward
        if any(part.forward is not forward for part in parts) or forward.leaves != own:
            torn = any(part.forward.owner is module and part.forward.leaves == own for part in parts)
            return None, REFUSED if torn and not has_own(module) else EITHER
        is_stale = forward.own_changes != self.own_changes_of(module)
        if any(part.is_spent for part in parts) or is_stale or gradient.array.shape != forward.out_shape:
            return forward, REFUSED
        if forward.changes != self.changes_of(module):
            return forward, EITHER
        if not forward.is_whole or forward.owner is not module:
            return forward, EITHER
        waiting = {handed.forward for handed in self.outputs if handed.forward.waits_beside(forward)}
        as_input = {handed.forward for handed in self.inputs if handed.forward and handed.forward.waits_beside(forward)}
        # What a method of the user's hands on does not tell for which output it is, of a layer within as well.
        if has_own(module) and any(other.leaves[-1] in own for other in waiting | as_input):
            return forward, EITHER
        waiting = {other for other in waiting if other.out_shape == forward.out_shape}
        if gradient.token is not None and forward.has_token:
            return forward, TAKEN if gradient.token is forward else REFUSED
        if not forward.has_token:
            return forward, TAKEN
        before = forward.before
        if before in waiting and before.changes == forward.changes and not before.is_input:
            return forward, REFUSED
        near = any(other.leaves[-1] is own[-1] or other.owner is module for other in waiting | as_input)
        return forward, EITHER if near else TAKEN

"""The passes that are made, as the contract says it: which backward may follow, and what gradients it must leave."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy
import oracles
from calls import tame
from kinds import KINKS, has_own, leaves, network, owners

from fastbp import nn

TAKEN, REFUSED, EITHER = "taken", "refused", "either"


@dataclass(eq=False)
class Pass:
    """A call of a module.

    ``values`` are an oracle's, or None where it has none; ``source`` is the output that went in, if one did; ``twin``
    is a copy of the module with input and output of a pass through its modules one by one, where no oracle has values.
    """

    owner: Any
    x: numpy.ndarray
    out_shape: tuple
    source: Handed | None
    values: list | None
    twin: Any
    is_recorded: bool
    time: int
    changes: dict  # by parameter: how often it was changed before
    places: dict  # by parameter: the storage that it lies in
    parts: list = field(init=False)  # the modules that compute, as they stood then
    shape: tuple = field(init=False)
    keeps_x: bool = field(init=False)  # the very array
    layers: list | None = field(init=False)
    layer_owners: list | None = field(init=False)
    is_own: bool = field(init=False)
    is_spent: bool = False
    is_torn: bool = False  # whether a backward of a part of it may have used that part up

    def __post_init__(self):
        self.parts, self.shape, self.is_own = leaves(self.owner), self.x.shape, has_own(self.owner)
        # Of what the kernels cannot read as it is a view or a copy is kept, which its user does not reshape.
        self.keeps_x = isinstance(self.parts[0], nn.Linear) and self.x.flags.carray
        known = self.values is not None
        self.layers, self.layer_owners = (network(self.owner), owners(self.owner)) if known else (None, None)

    def along(self):
        """Yield this pass and those whose outputs it is computed from."""
        yield self
        if self.source is not None:
            yield from self.source.made_by.along()

    def gradients(self, grad):
        """Return what a backward adds to each parameter, and the gradient of the input, in float64 or a copy's dtype.

        None where no comparison makes sense.
        """
        if self.twin is not None:
            return self._of_the_twin(grad)
        if self.values is None:
            return None
        pairs = [(layer, v) for layer, v in zip(self.layers, self.values, strict=False) if isinstance(layer, str)]
        distances = [numpy.abs(v - kink) for layer, v in pairs for kink in KINKS.get(layer, ())]
        weights = (array for layer in self.layers if not isinstance(layer, str) for array in layer)
        near_a_kink = any(((distance != 0) & (distance < 1e-4)).any() for distance in distances)
        if near_a_kink or not tame(grad, *weights):
            return None
        gradients, of_input = oracles.backward(self.layers, self.values, grad.astype("f8"))
        added = {}
        for leaf, pair in zip(self.layer_owners, gradients, strict=True):
            for parameter, gradient in zip((leaf.weight, leaf.bias) if leaf else (), pair, strict=False):
                if parameter is not None:
                    added[parameter] = added.get(parameter, 0) + gradient
        return added, of_input

    def _of_the_twin(self, grad):
        module, start, output = self.twin
        module.zero_grad()
        start.grad = None
        output.backward(grad, retain_graph=True)
        copies = dict(zip(self.changes, module.parameters(), strict=True))
        added = {parameter: copied.kernel_grad.copy() for parameter, copied in copies.items()}
        return (added, start.grad) if tame(start.grad, *added.values()) else None


@dataclass(eq=False)
class Handed:
    """An array that went in or came out.

    ``made_by`` is the pass whose output it is, or a part of it at ``index``. ``of`` is the output that it is a gradient
    for: a Handed, None for any, or EITHER where that is not known.
    """

    array: numpy.ndarray
    made_by: Pass | None = None
    index: tuple = ()
    of: Any = None
    numbers: numpy.ndarray | None = None

    def gradients(self, grad):
        """Return what a backward from here adds to each parameter, or None where no comparison makes sense."""
        whole = numpy.zeros(self.made_by.out_shape, grad.dtype)
        whole[self.index] = grad
        found = self.made_by.gradients(whole)
        if found is None or self.made_by.source is None:
            return found and found[0]
        added, of_input = found
        behind = self.made_by.source.gradients(of_input)
        return None if behind is None else {p: added.get(p, 0) + behind.get(p, 0) for p in {**added, **behind}}


class Remembered:
    """Everything that decides what becomes of a backward."""

    def __init__(self):
        self.last = {}  # by module: its last pass; a module of which nothing is known is missing
        self.changes = Counter()  # by parameter
        self.unsure = set()  # of parameters that may have been changed, by array or by what was refused late
        self.time = 0  # how many passes, changes and backwards there were
        self.outputs = []  # Handed, with their numbers
        self.inputs = []  # arrays

    def note_change(self, parameters):
        """Parameters were changed, and the library knows."""
        self.time += 1
        self.changes.update(parameters)

    def note_unsure(self, parameters):
        self.time += 1
        parameters = list(parameters)
        self.unsure |= {(parameter, self.changes[parameter]) for parameter in parameters}
        self.changes.update(parameters)

    def note_structure(self):
        """Modules were built, tied or given methods: whose last pass is which is not known any more."""
        self.time += 1
        self.last = {}

    def note_calls(self, module):
        """Modules inside of ``module``, or itself, were called nobody knows how."""
        self.time += 1
        for part in module.modules():
            self.last.pop(part, None)

    def note_pass(self, module, x, output, source, values, twin, is_recorded):
        self.note_calls(module)
        parameters = list(module.parameters())
        made = self.last[module] = Pass(
            module, x, output.shape, source, values, twin, is_recorded, self.time,
            {parameter: self.changes[parameter] for parameter in parameters},
            {parameter: parameter.storage for parameter in parameters},
        )  # fmt: skip
        handed = Handed(output, made, numbers=output.ravel().copy())
        self.outputs = [*self.outputs[-4:], handed]
        self.inputs = [*self.inputs[-3:], x]
        return handed

    def note_backward(self, passes, retains):
        self.time += 1
        for each in passes:
            each.is_spent |= not retains

    def known(self):
        """Return all passes that anything still refers to."""
        last = {handed.made_by for handed in self.outputs} | set(self.last.values())
        return {each for made in last for each in made.along()}

    def tear(self, module):
        """A backward went through a pass of ``module`` that is not known, or a part of one."""
        self.time += 1
        mine = set(module.modules())
        for each in self.known():
            each.is_torn |= not mine.isdisjoint(each.owner.modules())

    def forget_values(self, array):
        """``array`` was written: passes that kept it cannot be compared."""
        for each in self.known():
            if numpy.may_share_memory(each.x, array):
                each.values = each.twin = None

    def is_comparable(self, each):
        """Whether a backward that is taken must have the gradients of the parameters as they were."""
        return each.time == self.time or not (each.is_own or self._unsure(each))

    def _unsure(self, each):
        return {parameter for parameter, count in self.unsure if count >= each.changes.get(parameter, numpy.inf)}

    def verdict(self, passes):
        """Return what must become of a backward that goes through ``passes``."""
        verdicts = {self._verdict(each) for each in passes}
        return next(verdict for verdict in (REFUSED, EITHER, TAKEN) if verdict in verdicts)

    def _verdict(self, each):
        changed = {parameter for parameter, count in each.changes.items() if self.changes[parameter] != count}
        moved = {parameter for parameter, storage in each.places.items() if parameter.storage is not storage}
        is_whole = each.x.shape == each.shape
        if each.is_own:
            is_last = each.time == self.time and len(set(each.parts)) == len(each.parts)
            return TAKEN if is_last and is_whole and each.is_recorded else EITHER
        later = {leaf.weight for leaf in [part for part in each.parts if isinstance(part, nn.Linear)][1:]}
        certain = changed - moved - self._unsure(each)
        if not each.is_recorded or each.is_spent or certain & later or (each.keeps_x and not is_whole):
            return REFUSED
        return EITHER if changed or moved or each.is_torn or not is_whole else TAKEN

    def verdict_of_module(self, module, gradient):
        """Return the module's last pass, or None if it is not known, and what must become of its own backward."""
        each = self.last.get(module)
        if each is None:
            return None, EITHER
        is_for_another = isinstance(gradient.of, Handed) and (gradient.of.made_by is not each or gradient.of.index)
        if is_for_another or gradient.array.shape != each.out_shape:
            return each, EITHER if each.is_own else REFUSED
        verdict = self.verdict([each])
        return each, EITHER if verdict == TAKEN and gradient.of is EITHER else verdict

"""A chain of modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from fastbp.autograd.functions import unwrap
from fastbp.autograd.node import Node
from fastbp.autograd.recording import is_grad_enabled
from fastbp.autograd.tensor import wrap
from fastbp.engine.chain import Chain
from fastbp.engine.plan import NoPlan, Plan, plan_of
from fastbp.engine.predictor import Predictor
from fastbp.nn.container import OrderedContainer
from fastbp.nn.forward_node import InputNode, LastPass, numbers_and_node
from fastbp.nn.module import Module, locked
from fastbp.nn.parameter import flatten
from fastbp.runtime.buffers import Buffer
from fastbp.runtime.model_lock import read
from fastbp.validation.arrays import Array, as_rows, require_floats
from fastbp.validation.foreign import require_array
from fastbp.validation.user_methods import own_methods


class Sequential(OrderedContainer):
    """Modules applied one after the other, as ``torch.nn.Sequential``.

    Building it lays the parameters of all modules out in one flat vector (see ``fastbp.nn.parameter``).

    Parameters
    ----------
    *modules : Module, or one mapping of names to modules
        Their parameters share one dtype.
    """

    _output: Buffer
    _chain: Chain | None = None  # forward and backward in one call each, and what predicts, of the current plan
    _predictor: Predictor | None = None
    _derived: ClassVar[tuple[str, ...]] = (*OrderedContainer._derived, "_chain", "_predictor")

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        self._output = Buffer()
        first = modules[0] if modules else None
        if len(modules) == 1 and isinstance(first, Mapping):
            self._hold(dict(first))
        else:
            self._hold(self._numbered(modules))  # type: ignore[arg-type]

    def _check(self, modules: dict[str, Module]) -> None:
        super()._check(modules)
        dtypes = {parameter.dtype for module in modules.values() for parameter in module._parameters_in_order()}
        if len(dtypes) > 1:
            came = " and ".join(sorted(map(str, dtypes)))
            raise TypeError(f"Sequential takes modules of one dtype, got {came}; give each the same dtype=")

    def _hold(self, modules: dict[str, Module]) -> None:
        super()._hold(modules)
        flatten(self._parameters_in_order())

    def _part(self, names: list[str]) -> Sequential:
        return type(self)({name: self._parts_by_name[name] for name in names})

    @locked
    def forward(self, input: Array) -> Array:
        """Return the output for ``input``.

        Parameters
        ----------
        input : ndarray
            As the first module takes it. Kept, not copied, for the backward.

        Returns
        -------
        output : Tensor
            To be read. It keeps its numbers for as long as somebody holds it.
        """
        chain = self._current_chain()
        if chain is not None:
            return chain.forward(self, input)
        if not self._parts_by_name:
            require_floats(unwrap(input)[0], "Sequential")
        start, entry, is_recorded = entered(input, type(self).__name__)
        output, plan = start, self._plan
        plan.forward_state.keep()
        try:
            for module in self:
                output = module(output)
        except BaseException:
            plan.forward_state.put_back()  # what the modules before the one that raised have changed
            raise
        root = getattr(output, "_node", None)
        vars(self)["_last_pass"] = None if root is None else LastPass(root, entry)
        if is_recorded or any(parameter.requires_grad for parameter in plan.parameters):
            return output  # type: ignore[no-any-return]
        return wrap(unwrap(output)[0], None)

    def _current_chain(self) -> Chain | None:
        """Return what runs all modules in one call, or None where they are called one by one."""
        plan = self._plan
        if plan is None or not plan.is_current:
            plan = plan_of(self)
        chain = self._chain
        if chain is not None and chain.plan is plan:
            return chain
        made = Chain(plan, self._output) if isinstance(plan, Plan) and plan.may_chain else None
        if made is not chain:
            self._chain = made
        return made

    def _parts(self) -> Iterator[Module]:
        for module in self:
            yield from module._leaves()

    def _leaves(self) -> Iterator[Module]:
        return iter((self,)) if own_methods(self) else self._parts()

    def predict(self, input: Array) -> Array:
        """Return the output for ``input`` as a new array.

        Any number of threads may predict by one model of the library's own modules while none changes it.
        """
        plan = self._plan
        if plan is None or not plan.is_current:
            plan = plan_of(self)
        predictor = self._predictor
        if predictor is None or predictor.plan is not plan:
            if isinstance(plan, NoPlan) or not plan.may_predict:
                return self._predict_by_modules(input, plan)
            predictor = self._predictor = Predictor(plan)
        input = numbers_and_node(input)[0]
        if plan.takes_rows_only and np.ndim(input) != 2:
            return self._predict_by_modules(input, plan)
        rows = input = plan.first._checked(input)
        are_rows = input.ndim == 2
        if not are_rows:
            rows = as_rows(input)
        lock = plan.lock
        changes = lock.changes
        output: Array = predictor.predict(rows)
        if not lock.was_quiet(changes):
            with lock:
                lock.require_free()
                output = predictor.predict(rows)
        return output if are_rows else output.reshape(*input.shape[:-1], plan.out_features)

    def _predict_by_modules(self, input: Array, plan: Plan | NoPlan) -> Array:
        lock = self._current().lock
        if not plan.with_own_methods and (isinstance(plan, NoPlan) or (plan.takes_rows_only and plan.may_predict)):
            return read(lock, lambda: self._predict_one_by_one(input))
        with lock:  # one at a time: a forward of the user's may run
            lock.require_free()
            output: Array = self._predict_one_by_one(input) if plan.may_predict else super().predict(input)
            return output

    def _predict_one_by_one(self, input: Array) -> Array:
        for module in self:
            input = module.predict(input)
        return input if self._parts_by_name else np.array(require_floats(input, "Sequential"))


def entered(input: Any, owner: str) -> tuple[Any, Node | None, bool]:
    """Return what the first of several modules is given, its node, and whether ``input`` requires a gradient.

    Numbers get a node too, so that the modules' own ``backward`` comes to the gradient of their input.
    """
    value, node = unwrap(input)
    if not is_grad_enabled() or not isinstance(value, np.ndarray):
        return input, node, node is not None
    require_array(value, owner)  # before the tensor leaves a mask behind
    entry = InputNode(value, node)
    return wrap(value, entry), entry, node is not None

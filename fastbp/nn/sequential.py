"""A chain of modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import pairwise
from typing import ClassVar, NoReturn

import numpy as np

from fastbp.engine.chain import Chain
from fastbp.engine.plan import NoPlan, Plan, plan_of
from fastbp.engine.predictor import Predictor
from fastbp.nn.container import Container
from fastbp.nn.forward_state import ForwardState
from fastbp.nn.last_forward import LastForward, has_token
from fastbp.nn.module import Module, locked
from fastbp.nn.parameter import flatten
from fastbp.runtime.buffers import Buffer
from fastbp.runtime.model_lock import holder
from fastbp.validation.arrays import Array, as_rows, require_floats
from fastbp.validation.user_methods import own_methods

_UNMARKED = np.empty(0, np.float32)  # a gradient of which it is not known for which output it is


class Sequential(Container):
    """Modules applied one after the other, as ``torch.nn.Sequential``.

    Building it lays the parameters of all modules out in one flat vector (see ``fastbp.nn.parameter``).

    Parameters
    ----------
    *modules : Module, or one mapping of names to modules
        Each instance once: a module remembers one forward. Their parameters share one dtype.
    """

    _output: Buffer
    _chain: Chain | None = None  # forward and backward in one call each, and what predicts, of the current plan
    _predictor: Predictor | None = None
    _derived: ClassVar[tuple[str, ...]] = (*Container._derived, "_chain", "_predictor")
    _tokens: Set[int | None] = frozenset()  # of the modules, after a forward that called them one by one

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        self._output = Buffer()
        first = modules[0] if modules else None
        if len(modules) == 1 and isinstance(first, Mapping):
            self._hold(dict(first))
        else:
            self._hold(self._numbered(modules))  # type: ignore[arg-type]

    def _check(self, modules: dict[str, Module]) -> None:
        super()._check(modules)
        places: dict[Module, str] = {}
        for position, module in modules.items():
            for name, inner in module.named_modules(position):
                if inner in places:
                    raise ValueError(
                        f"Sequential takes each module once, got the same {type(inner).__name__} at positions "
                        f"{places[inner]} and {name}; a module remembers one forward only: build a second one"
                    )
                places[inner] = name
        dtypes = {parameter.dtype for module in modules.values() for parameter in module.parameters()}
        if len(dtypes) > 1:
            came = " and ".join(sorted(map(str, dtypes)))
            raise TypeError(f"Sequential takes modules of one dtype, got {came}; give each the same dtype=")

    def _hold(self, modules: dict[str, Module]) -> None:
        super()._hold(modules)
        flatten(self.parameters())

    def _part(self, names: list[str]) -> Sequential:
        return type(self)({name: self._parts_by_name[name] for name in names})

    @locked
    def forward(self, input: Array) -> Array:
        """Return the output for ``input``.

        Parameters
        ----------
        input : ndarray
            As the first module takes it. Kept, not copied, for ``backward``.

        Returns
        -------
        output : ndarray
            To be read. It keeps its numbers for as long as somebody holds it.
        """
        chain = self._current_chain()
        if chain is not None:
            return chain.forward(input)
        output = input if self._parts_by_name else require_floats(input, "Sequential")
        state: ForwardState = self._plan.forward_state
        state.keep()
        try:
            for module in self:
                output = module(output)
        except BaseException:
            state.put_back()  # what the modules before the one that raised have changed
            raise
        self._tokens = {last.token for _, last in self._last_forwards() if last is not None}
        return output

    @locked
    def backward(self, grad_output: Array, *, retain_graph: bool = False) -> Array:
        """Add to the gradients of all parameters and return the gradient with respect to the input.

        Parameters
        ----------
        grad_output : ndarray of the last output's shape
        retain_graph : bool
            Whether another backward may follow this one for the same forward.

        Returns
        -------
        grad_input : ndarray of the last input's shape
        """
        chain = self._current_chain()
        if chain is not None and chain.is_whole:
            return chain.backward(grad_output, retain_graph)
        self._require_own_forward(grad_output)
        for module in reversed(list(self)):
            grad_output = module.backward(grad_output)
        self._retain(retain_graph)
        return grad_output

    @locked
    def backward_parameters(self, grad_output: Array, *, retain_graph: bool = False) -> None:
        chain = self._current_chain()
        if chain is not None and chain.is_whole and chain.plan.takes_gradients:
            chain.backward_parameters(grad_output, retain_graph)
            return
        if not self._takes("backward_parameters"):
            super().backward_parameters(grad_output, retain_graph=retain_graph)
            return
        self._require_own_forward(grad_output)
        modules = list(self)
        modules = modules[_first_trained(modules) :]
        for module in reversed(modules[1:]):
            grad_output = module.backward(grad_output)
        for module in modules[:1]:
            module.backward_parameters(grad_output)
        self._retain(retain_graph)

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

    def _last_forwards(self) -> Iterator[tuple[Module, LastForward | None]]:
        """Yield the modules, or what they consist of, with the forward that each remembers; None if it is not known."""
        plan = plan_of(self)
        foreign = plan.with_own_methods if isinstance(plan, NoPlan) else ()
        for module in self:
            if module in foreign:
                yield module, None
            elif isinstance(module, Sequential):
                chain = module._current_chain()
                if chain is not None and chain.is_whole:
                    yield module, chain.last
                else:
                    yield from module._last_forwards()
            else:
                last = module._last_forward
                if last is not None and last.chain is not None:
                    last.chain.hand_over()
                yield module, last

    def _inner_chains(self) -> Iterator[tuple[Sequential, int | None]]:
        """Yield what residual blocks consist of, which ``_last_forwards`` leaves out, and the token of its output."""
        plan = plan_of(self)
        foreign = plan.with_own_methods if isinstance(plan, NoPlan) else ()
        for module in self:
            if module in foreign:
                continue
            if isinstance(module, Sequential):
                yield from module._inner_chains()
            elif isinstance(module._inner, Sequential):
                yield module._inner, module._inner_token

    def _require_backward(self, token: int | None) -> None:
        """Raise RuntimeError unless a backward may follow of the gradient for the output of this token."""
        chain = self._current_chain()
        if chain is not None and chain.is_whole:
            chain.require_backward(token)
            return
        self._require_own_forward(_UNMARKED if token is None else None)
        for module, last in list(self._last_forwards())[-1:]:
            if token is not None and last is not None:
                last.require_token(type(module).__name__, token)

    def _require_own_forward(self, grad_output: Array | None) -> None:
        """Raise RuntimeError before any gradient is added, if one of the modules was used elsewhere since.

        Without ``grad_output`` it is known for which output it is.
        """
        kept = list(self._last_forwards())
        for module, last in kept:
            if last is not None:
                last.require_whole(type(module).__name__)
                flat = module._current()
                last.require_unspent(type(module).__name__, flat.changes, flat)
        last_module, last = kept[-1] if kept else (self, None)
        if last is not None and isinstance(grad_output, np.ndarray) and not has_token(grad_output):
            last.require_no_other(type(last_module).__name__, self._output)
        chain = self._current_chain()
        own = self._tokens if chain is None else self._tokens | chain.tokens  # whichever way the last forward went
        are_own = [last.token in own for _, last in kept if last is not None]
        if any(are_own) and not all(are_own):
            self._refuse_foreign(kept[-1][0])
        for (_, before), (module, last) in pairwise(kept):
            if before is not None and last is not None and not last.follows(before):
                self._refuse_foreign(module)
        for inner, token in self._inner_chains():
            inner._require_backward(token)

    def _refuse_foreign(self, module: Module) -> NoReturn:
        raise RuntimeError(
            "Sequential.backward needs the last forward of each module to be its own; one of those up to "
            f"{type(module).__name__} was called elsewhere since"
        )

    def _retain(self, retain_graph: bool) -> None:
        """Let another backward follow, unless it is not wanted."""
        if not retain_graph:
            return
        for _, last in self._last_forwards():
            if last is not None:
                last.is_spent = False
        for inner, _ in self._inner_chains():
            chain = inner._current_chain()
            if chain is None or not chain.is_whole:
                inner._retain(retain_graph)
            else:
                chain.last.is_spent = False

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
        if plan.takes_rows_only and np.ndim(input) != 2:
            return self._predict_by_modules(input, plan)
        rows = input = plan.first._checked(input)
        are_rows = input.ndim == 2
        if not are_rows:
            rows = as_rows(input)
        lock = plan.lock
        changes = lock.changes
        output: Array = predictor.predict(rows)
        if lock.writer or lock.changes != changes:
            lock.check_reading(changes)
        return output if are_rows else output.reshape(*input.shape[:-1], plan.out_features)

    @holder
    def _predict_by_modules(self, input: Array, plan: Plan | NoPlan) -> Array:
        lock = self._current().lock
        if not plan.with_own_methods and (isinstance(plan, NoPlan) or (plan.takes_rows_only and plan.may_predict)):
            changes = lock.changes
            output = self._predict_one_by_one(input)
            if lock.writer or lock.changes != changes:
                lock.check_reading(changes)
            return output
        taken = lock.acquire()  # one at a time: a forward of the user's may run
        try:
            if not plan.may_predict:
                return super().predict(input)
            output = self._predict_one_by_one(input)
            self._forget()
            return output
        finally:
            taken.release()

    def _predict_one_by_one(self, input: Array) -> Array:
        for module in self:
            input = module.predict(input)
        return input if self._parts_by_name else np.array(require_floats(input, "Sequential"))


def _first_trained(modules: Sequence[Module]) -> int:
    """Return where to begin for all that is trained: behind frozen modules, if there are any, else at the first."""
    has_frozen = False
    for place, module in enumerate(modules):
        needed = [parameter.requires_grad for parameter in module.parameters()]
        if any(needed):
            return place if has_frozen else 0
        has_frozen = has_frozen or bool(needed)
    return len(modules) if has_frozen else 0

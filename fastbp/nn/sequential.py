"""A chain of modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import overload

import numpy as np

from fastbp.arrays import Array, as_rows, require_floats
from fastbp.chain import Chain
from fastbp.nn.module import Module, guarded
from fastbp.nn.parameter import Storage, flatten
from fastbp.plan import NotPlannable, Plan, Predictor


class Sequential(Module):
    """Modules applied one after the other, as ``torch.nn.Sequential``.

    Building it lays the parameters of all modules out in one flat vector (see ``fastbp.nn.parameter``).

    Parameters
    ----------
    *modules : Module
        Each instance once: a module remembers one forward. Their parameters share one dtype.
    """

    _predictor: Predictor | None = None
    _chain: Chain | None = None
    _chain_layouts = -1  # ``Storage.layouts`` when it was found, or found not to be possible
    _derived = (*Module._derived, "_predictor", "_chain", "_chain_layouts")

    def __init__(self, *modules: Module) -> None:
        for position, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"Sequential takes modules, got {type(module).__name__} at position {position}")
        places: dict[Module, str] = {}
        for position, module in enumerate(modules):
            for name, inner in module.named_modules(str(position)):
                if inner in places:
                    raise ValueError(
                        f"Sequential takes each module once, got the same {type(inner).__name__} at positions "
                        f"{places[inner]} and {name}; a module remembers one forward only: build a second one"
                    )
                places[inner] = name
        self._modules = modules
        dtypes = sorted({str(parameter.dtype) for parameter in self.parameters()})
        if len(dtypes) > 1:
            raise TypeError(
                f"Sequential takes modules of one dtype, got {' and '.join(dtypes)}; give each the same dtype="
            )
        flatten(self.parameters())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        for position, module in enumerate(self._modules):
            yield str(position), module

    @guarded
    def forward(self, input: Array) -> Array:
        """Return the output for ``input``.

        Parameters
        ----------
        input : ndarray
            As the first module takes it. Kept, not copied, for ``backward``.

        Returns
        -------
        output : ndarray
            Owned by this model: the next ``forward`` overwrites it.
        """
        chain = self._current_chain()
        if chain is not None:
            return chain.forward(input)
        if any(module._owns(input) for child in self._modules for module in leaves(child)):
            input = np.array(input)
        for module in self._modules:
            input = module.forward(input)
        return input if self._modules else require_floats(input, "Sequential")

    @guarded
    def backward(self, grad_output: Array) -> Array:
        """Add to the gradients of all parameters and return the gradient with respect to the input.

        Parameters
        ----------
        grad_output : ndarray of the last output's shape

        Returns
        -------
        grad_input : ndarray of the last input's shape
            Owned by this model: the next ``backward`` overwrites it.
        """
        chain = self._current_chain()
        if chain is not None and chain.is_last_forward:
            return chain.backward(grad_output)
        self._require_own_forward()
        for module in reversed(self._modules):
            grad_output = module.backward(grad_output)
        return grad_output

    @guarded
    def backward_parameters(self, grad_output: Array) -> None:
        chain = self._current_chain()
        if chain is not None and chain.is_last_forward:
            chain.backward_parameters(grad_output)
            return
        self._require_own_forward()
        for module in reversed(self._modules[1:]):
            grad_output = module.backward(grad_output)
        for module in self._modules[:1]:
            module.backward_parameters(grad_output)

    def _current_chain(self) -> Chain | None:
        """Return what runs all modules in one call, or None where they are called one by one."""
        if self._chain_layouts != Storage.layouts:
            layouts, plan = Storage.layouts, _plan_for(self)
            self._chain = None if plan is None else Chain(plan)
            self._chain_layouts = layouts  # last, so that an interrupt leaves it to be found
        return self._chain

    def _require_own_forward(self) -> None:
        """Raise RuntimeError before any gradient is added if one of the modules was used elsewhere since."""
        before = None
        for module in (leaf for child in self._modules for leaf in leaves(child)):
            last = module._last_forward
            if last is not None and (before is None or last.given is not before.handed_out or last.given is None):
                last.require_following(before, module)
            before = last

    def predict(self, input: Array) -> Array:
        """Return the output for ``input`` as a new array.

        Any number of threads may predict by one model of the library's own modules while none changes it.
        """
        predictor = self._predictor
        if predictor is None or predictor.plan.layouts != Storage.layouts:
            plan = _plan_for(self)
            if plan is None:
                return self._predict_by_modules(input)
            predictor = self._predictor = Predictor(plan)
        plan = predictor.plan
        rows = input = plan.first._checked(input)
        are_rows = input.ndim == 2
        if not are_rows:
            rows = as_rows(input)
        guard = plan.guard
        changes = guard.changes
        output = predictor.predict(rows)
        if changes % 2 or guard.changes != changes:
            guard.check_reading()
        return output if are_rows else output.reshape(*input.shape[:-1], plan.out_features)

    @guarded
    def _predict_by_modules(self, input: Array) -> Array:
        for module in self._modules:
            input = module.predict(input)
        return input if self._modules else np.array(require_floats(input, "Sequential"))

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Module, ...]: ...
    def __getitem__(self, index: int | slice) -> Module | tuple[Module, ...]:
        try:
            return self._modules[index]
        except (IndexError, TypeError) as error:
            raise type(error)(f"Sequential of {len(self)} modules takes an index or a slice, got {index!r}") from None


def leaves(module: Module) -> Iterator[Module]:
    """Yield the modules that a network applies one after the other, those of nested ``Sequential``s included."""
    if type(module) is Sequential and not module._has_own_methods:
        for child in module:
            yield from leaves(child)
    else:
        yield module


def _plan_for(model: Sequential) -> Plan | None:
    try:
        return Plan(leaves(model))
    except NotPlannable:
        return None

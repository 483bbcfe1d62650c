"""A chain of modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import overload

import numpy as np

from fastbp.arrays import Array, as_rows, plain, require_floats
from fastbp.nn.module import Module
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
    _derived = (*Module._derived, "_predictor")

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

    def forward(self, input: Array) -> Array:
        if not self._modules:
            return require_floats(input, "Sequential")
        guard = self._current().guard
        guard.acquire()
        try:
            for module in self._modules:
                input = module.forward(input)
            return input
        finally:
            guard.release()

    def backward(self, grad_output: Array) -> Array:
        guard = self._current().guard
        guard.acquire()
        try:
            self._require_own_forward()
            for module in reversed(self._modules):
                grad_output = module.backward(grad_output)
            return grad_output
        finally:
            guard.release()

    def backward_parameters(self, grad_output: Array) -> None:
        guard = self._current().guard
        guard.acquire()
        try:
            self._require_own_forward()
            for module in reversed(self._modules[1:]):
                grad_output = module.backward(grad_output)
            for module in self._modules[:1]:
                module.backward_parameters(grad_output)
        finally:
            guard.release()

    def _require_own_forward(self) -> None:
        """Raise RuntimeError before any gradient is added if one of the modules was used elsewhere since."""
        before = None
        for module in self._modules:
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
            predictor = self._predictor = _predictor_for(self)
        if predictor is None:
            return self._predict_by_modules(input)
        plan = predictor.plan
        require_floats(input, plan.first_layer, plan.dtype)
        shape = input.shape
        if not shape or shape[-1] != plan.in_features:
            raise ValueError(f"{plan.first_layer} takes inputs of shape (..., {plan.in_features}), got {shape}")
        guard = plan.guard
        changes = guard.changes
        output = predictor.predict(as_rows(plain(input)))
        if changes % 2 or guard.changes != changes:
            guard.check_reading()
        return output if len(shape) == 2 else output.reshape(*shape[:-1], plan.out_features)

    def _predict_by_modules(self, input: Array) -> Array:
        guard = self._current().guard
        guard.acquire()
        try:
            for module in self._modules:
                input = module.predict(input)
            return input if self._modules else np.array(require_floats(input, "Sequential"))
        finally:
            guard.release()

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
    if type(module) is Sequential:
        for child in module:
            yield from leaves(child)
    else:
        yield module


def _predictor_for(model: Sequential) -> Predictor | None:
    try:
        return Predictor(Plan(leaves(model)))
    except NotPlannable:
        return None

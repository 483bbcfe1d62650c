"""What all activations share: elementwise, for arrays of any shape."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from typing import Any, ClassVar

import numpy as np

from fastbp.nn.last_forward import LastForward, token_of_input
from fastbp.nn.module import Module, locked
from fastbp.nn.operation import ActivationCall
from fastbp.runtime.buffers import Buffer
from fastbp.validation.arrays import Array, plain, require_floats
from fastbp_kernels import activation_backward, activation_forward
from fastbp_kernels.functions.activations import ACTIVATION_CODES, ACTIVATIONS, KEEPS_DERIVATIVE


class Activation(Module):
    """An elementwise function with a row in ``fastbp_kernels.functions.activations``.

    Attributes
    ----------
    row : str
    settings : mapping of str to type
        What the constructor takes that makes another function, as attributes.
    example : mapping of str to float
        Settings without a default, as some network may have them: tests and ``warmup`` build the class with these.
    """

    row: str
    settings: ClassVar[Mapping[str, type]] = {}
    example: ClassVar[Mapping[str, float]] = {}
    _last_forward: LastForward
    _output: Buffer
    _grad_input: Buffer

    def __init__(self) -> None:
        self._output, self._grad_input, self._last_forward = Buffer(), Buffer(), LastForward()

    @property
    def scalars(self) -> tuple[float, ...]:
        """The numbers that the row takes."""
        return ()

    @property
    def _activation(self) -> ActivationCall:
        code = ACTIVATION_CODES[self.row]
        row, keeps = ACTIVATIONS[code], KEEPS_DERIVATIVE[code]
        return ActivationCall(code, row.saves == "input", row.flop, self.scalars, keeps_derivative=keeps)

    def forward_kernel(self, input: Array, output: Array) -> None:
        """Write the function of ``input`` to ``output``."""
        activation_forward(ACTIVATION_CODES[self.row], input, _as_array(self.scalars, input.dtype), output)

    def backward_kernel(self, grad_output: Array, saved: Array, grad_input: Array, /) -> None:
        """Write the gradient of the input; ``saved`` is what the row says, input or output."""
        scalars = _as_array(self.scalars, saved.dtype)
        activation_backward(ACTIVATION_CODES[self.row], grad_output, saved, scalars, grad_input)

    @locked
    def forward(self, input: Array) -> Array:
        """Return an array of the input's shape and dtype, to be read; it keeps its numbers while somebody holds it."""
        checked, last = plain(require_floats(input, type(self).__name__)), self._last_forward
        slot = self._output.take(checked.shape, checked.dtype)
        last.forget()
        self.forward_kernel(checked, slot.array)
        return last.keep(checked, token_of_input(input), slot, None)

    def predict(self, input: Array) -> Array:
        if not self._takes("predict"):
            return super().predict(input)
        input = plain(require_floats(input, type(self).__name__))
        output = np.empty_like(input)
        self.forward_kernel(input, output)
        return output

    @locked
    def backward(self, grad_output: Array, *, retain_graph: bool = False) -> Array:
        """Return ``grad_output`` times the derivative at the last input.

        ``retain_graph`` lets another backward follow this one for the same forward.
        """
        last = self._last_forward
        if last.chain is not None:
            last.chain.hand_over()
        grad_output = last.checked(grad_output, type(self).__name__, self._output, None, None)
        saved = plain(last.input) if self._activation.saves_input else last.output
        slot = self._grad_input.take(saved.shape, saved.dtype)
        last.spend(retain_graph)
        if last.input_is_derivative:
            with np.errstate(all="ignore"):  # as in the kernels
                np.multiply(grad_output, saved, out=slot.array)
        else:
            self.backward_kernel(grad_output, saved, slot.array)
        slot.memory.gradient_for = last.input_token
        return slot.array.view()

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.settings)


class ScalarSetting:
    """A number that an activation was built with, to be read."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, activation: Any, owner: type) -> float:
        return self if activation is None else activation._numbers[self._name]  # type: ignore[return-value]

    def __set__(self, activation: Any, value: object) -> None:
        name = type(activation).__name__
        raise AttributeError(
            f"{self._name} of a {name} is set when it is built; build another {name}({self._name}=...)"
        )


class ScalarActivation(Activation):
    """An activation with as many numbers as ``settings`` names; they are its row's unless it says otherwise.

    Parameters
    ----------
    inplace : False
        The output is an array that this module owns, and the input stays as it is.
    **numbers : float
        By the names of ``settings``.
    """

    def __init__(self, inplace: bool = False, **numbers: float) -> None:
        refuse_inplace(self, inplace)
        for name, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, int | float | np.number) or not isfinite(number):
                raise ValueError(f"{type(self).__name__} takes {name} as a finite number, got {number!r}")
        super().__init__()
        self._numbers = {name: float(number) for name, number in numbers.items()}

    @property
    def scalars(self) -> tuple[float, ...]:
        return tuple(self._numbers.values())


def refuse_inplace(activation: Activation, inplace: bool) -> None:
    if inplace:
        name = type(activation).__name__
        raise ValueError(f"{name} leaves its input as it is and does not support inplace={inplace!r}")


@lru_cache
def _as_array(scalars: tuple[float, ...], dtype: np.dtype[Any]) -> Array:
    return np.array(scalars, dtype)

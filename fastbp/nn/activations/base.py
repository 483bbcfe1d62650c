"""What all activations share: elementwise, for arrays of any shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from math import isfinite
from typing import Any, ClassVar

import numpy as np

from fastbp.nn.forward_node import as_it_was, numbers_and_node, record_forward
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
    _output: Buffer
    _grad_input: Buffer

    def __init__(self) -> None:
        self._output, self._grad_input = Buffer(), Buffer()

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

    @property
    def backward_kernel(self) -> Callable[[Array, Array, Array], None]:
        """A function of (grad_output, saved, grad_input) that writes the last.

        ``saved`` is what the row says, input or output. The function does not refer to the module: a pass keeps it.
        """
        return partial(_row_backward, ACTIVATION_CODES[self.row], self.scalars)

    @locked
    def forward(self, input: Array) -> Array:
        """Return a tensor of the input's shape and dtype, to be read; it keeps its numbers while somebody holds it."""
        value, node = numbers_and_node(input)
        checked = plain(require_floats(value, type(self).__name__))
        slot = self._output.take(checked.shape, checked.dtype)
        self.forward_kernel(checked, slot.array)
        saved = checked if self._activation.saves_input else slot.array
        kept = self.backward_kernel, type(self).__name__, saved, saved.shape, self._grad_input
        return record_forward(self, node, slot, _back, kept, self._current().lock, check_kept=_check_kept)

    def predict(self, input: Array) -> Array:
        if not self._takes("predict"):
            return super().predict(input)  # type: ignore[no-any-return]
        input = plain(require_floats(numbers_and_node(input)[0], type(self).__name__))
        output = np.empty_like(input)
        self.forward_kernel(input, output)
        return output

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.settings)


def _row_backward(code: int, scalars: tuple[float, ...], grad_output: Array, saved: Array, grad_input: Array) -> None:
    activation_backward(code, grad_output, saved, _as_array(scalars, saved.dtype), grad_input)


def _check_kept(kernel: Callable[..., None], name: str, saved: Array, shape: tuple[int, ...], _: Buffer) -> None:
    as_it_was(saved, shape, saved.dtype, name)


def _back(
    grad_output: Array, wants_input: bool, kernel: Callable[..., None], name: str, saved: Array, shape: tuple[int, ...],
    grad_inputs: Buffer,
) -> Array | None:  # fmt: skip
    """Return ``grad_output`` times the derivative."""
    if not wants_input:
        return None
    array = grad_inputs.take(shape, saved.dtype).array
    kernel(grad_output, as_it_was(saved, shape, grad_output.dtype, name), array)
    return array


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

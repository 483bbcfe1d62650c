"""An activation of the user's own for the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import Parameter, signature
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numba import types

from fastbp.nn.activations.base import Activation
from fastbp.nn.module import Module
from fastbp.nn.operation import ActivationCall
from fastbp.validation.arrays import Array
from fastbp_kernels.compiler.callbacks import derivative_loop, returned_type, value_loop
from fastbp_kernels.compiler.numba_internals import CPUDispatcher, NumbaError
from fastbp_kernels.functions.activations import OWN

_FLOP = 200  # as ACTIVATIONS has it: what a function takes that calls another one of the C library


class _Loops(NamedTuple):
    """Callbacks of C for one dtype, whose code must stay in memory while a table has their addresses."""

    value: Any
    derivative: Any


class Elementwise(Activation):
    """An activation by functions of your own, compiled by numba.

    It trains in the engine as others do::

        @numba.njit
        def value(x):
            return x / math.sqrt(1 + x * x)

        @numba.njit
        def derivative(x):
            return (1 + x * x) ** -1.5

        model = nn.Sequential(nn.Linear(2, 25), nn.Elementwise(value, derivative), nn.Linear(25, 2))

    They are compiled into loops at the first use with each dtype, with division as NumPy has it (1 / 0 is infinite).
    Their argument is a number of the network's dtype. ``fastbp.save`` keeps the parameters of a network with one, not
    the functions, and ``fastbp.to_torch`` refuses it.

    Parameters
    ----------
    value, derivative : functions that ``numba.njit`` made
        Of one number each, the input, and both return a float.

    Raises
    ------
    TypeError
    """

    _derived: ClassVar[tuple[str, ...]] = (*Module._derived, "_loops")

    def __init__(self, value: Callable[[float], float], derivative: Callable[[float], float]) -> None:
        for name, function in (("value", value), ("derivative", derivative)):
            _require_function_of_a_number(name, function)
        super().__init__()
        self._value, self._derivative = value, derivative

    @property
    def value(self) -> Callable[[float], float]:
        """The function."""
        return self._value

    @property
    def derivative(self) -> Callable[[float], float]:
        """Its derivative, a function of the input."""
        return self._derivative

    @property
    def _activation(self) -> ActivationCall:
        return ActivationCall(OWN, True, _FLOP, addresses=self._addresses)

    def _addresses(self, dtype: np.dtype[Any]) -> tuple[int, int]:
        loops = self._loops_for(dtype)
        return loops.value.address, loops.derivative.address

    def _loops_for(self, dtype: np.dtype[Any]) -> _Loops:
        loops: dict[np.dtype[Any], _Loops] = vars(self).setdefault("_loops", {})  # one, if several threads are first
        if dtype not in loops:
            loops.setdefault(dtype, _Loops(value_loop(self._value, dtype), derivative_loop(self._derivative, dtype)))
        return loops[dtype]

    def forward_kernel(self, input: Array, output: Array) -> None:
        _call(self._loops_for(input.dtype).value, input, output)

    @property
    def backward_kernel(self) -> Callable[[Array, Array, Array], None]:
        return partial(_call_derivative, vars(self)["_loops"])  # of which the forward has compiled those it needs

    def extra_repr(self) -> str:
        return f"{self._value.__name__}, {self._derivative.__name__}"


def _call_derivative(
    loops: Mapping[np.dtype[Any], _Loops], grad_output: Array, saved: Array, grad_input: Array
) -> None:
    _call(loops[saved.dtype].derivative, grad_output, saved, grad_input)


def _call(loop: Any, *arrays: Array) -> None:
    pointers = [array.ctypes.data_as(kind) for array, kind in zip(arrays, loop.ctypes.argtypes[1:], strict=True)]
    loop.ctypes(arrays[0].size, *pointers)


def _require_function_of_a_number(name: str, function: Any) -> None:
    """Raise TypeError unless numba can compile ``function`` for one float, to return a float."""
    if not isinstance(function, CPUDispatcher):
        raise TypeError(f"Elementwise takes {name} as a function that numba.njit made, got {function!r}")
    called = f"{name} {function.__name__}{signature(function.py_func)}"
    parameters = signature(function.py_func).parameters.values()
    needed = [p for p in parameters if p.default is Parameter.empty or p.kind is Parameter.VAR_POSITIONAL]
    if len(needed) != 1 or needed[0].kind is Parameter.VAR_POSITIONAL:
        raise TypeError(f"Elementwise takes {name} as a function of one number, got {called}")
    try:
        returned = returned_type(function)
    except NumbaError as error:
        raise TypeError(f"Elementwise takes {name} as a function of a float, which {called} is not to numba") from error
    if not isinstance(returned, types.Float):
        raise TypeError(f"Elementwise takes {name} as a function that returns a float, got {called} with {returned}")

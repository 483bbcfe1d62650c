"""A loss of the user's own for the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numba import carray, cfunc, jit, types

from fastbp.nn.losses.kernel_loss import KernelLoss
from fastbp.validation.arrays import Array
from fastbp_kernels.compiler.numba_internals import CPUDispatcher
from fastbp_kernels.functions.losses.kernels import SCALARS, LossCall

_TYPES = {np.dtype(np.float32): types.float32, np.dtype(np.float64): types.float64}


class ElementwiseLoss(KernelLoss):
    """A loss over elements by functions of your own, compiled by numba.

    It trains in the engine as others do::

        @numba.njit
        def value(prediction, target):
            return math.cosh(prediction - target) - 1

        @numba.njit
        def derivative(prediction, target):
            return math.sinh(prediction - target)

        criterion = nn.ElementwiseLoss(value, derivative)

    They are compiled into a loop at the first use with each dtype, which takes a second, with division as NumPy has it
    (1 / 0 is infinite). Arguments come in the network's dtype. Reductions and ``sample_weight`` are those of
    ``MSELoss``. It holds compiled code and is not pickled; make it anew where a training goes on.

    Parameters
    ----------
    value, derivative : functions that ``numba.njit`` made
        Of one prediction and one target, both numbers; the derivative is with respect to the prediction.
    reduction : "mean", "sum" or "none"
    """

    def __init__(
        self, value: Callable[[float, float], float], derivative: Callable[[float, float], float],
        reduction: str = "mean",
    ) -> None:  # fmt: skip
        for name, function in (("value", value), ("derivative", derivative)):
            if not isinstance(function, CPUDispatcher):
                raise TypeError(f"ElementwiseLoss takes {name} as a function that numba.njit made, got {function!r}")
        super().__init__(reduction)
        self.value, self.derivative = value, derivative
        self._loops: dict[np.dtype[Any], Any] = {}  # by dtype: compiled code, which must stay in memory

    def row_for(self, target: Array) -> str:
        return ""

    def _make_call(self, name: str, outputs: int, dtype: np.dtype[Any], reduction: str, sums_weights: bool) -> LossCall:
        if dtype not in self._loops:
            self._loops[dtype] = _compiled(self.value, self.derivative, dtype)
        address = self._loops[dtype].address
        settings = np.zeros(SCALARS, dtype)
        return LossCall(address, False, False, 1.0, reduction == "mean", outputs, sums_weights, settings)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an ElementwiseLoss holds functions of your own and is not saved; make it anew from them")

    def __copy__(self) -> ElementwiseLoss:
        copied = ElementwiseLoss(self.value, self.derivative, self.reduction)
        copied._loops = self._loops  # which take a second to compile
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> ElementwiseLoss:
        return self.__copy__()


def _compiled(value: Any, derivative: Any, dtype: np.dtype[Any]) -> Any:
    """Return the loop that the engine calls, a callback of C: see ``LossCall``."""
    value, derivative = (_dividing_as_numpy(function) for function in (value, derivative))
    number = _TYPES[dtype]
    array = types.CPointer(number)

    def loop(count, prediction, target, factor, wants_gradient, grad):  # type: ignore[no-untyped-def]
        x, y, g = carray(prediction, count), carray(target, count), carray(grad, count)
        total = 0.0
        for k in range(count):
            own_x, own_y = x[k], y[k]
            total += value(own_x, own_y)
            if wants_gradient:
                g[k] = factor * derivative(own_x, own_y)
        return total

    signature = types.float64(types.int64, array, array, number, types.int64, array)
    return cfunc(signature, nopython=True, error_model="numpy")(loop)


def _dividing_as_numpy(function: Any) -> Any:
    """Return the function with numba's other rule of division: a callback cannot raise ZeroDivisionError."""
    return jit(**{**function.targetoptions, "error_model": "numpy"})(function.py_func)

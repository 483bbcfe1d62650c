"""Losses that the engine knows: value and gradient in one pass of a kernel."""

from __future__ import annotations

from collections.abc import Hashable
from inspect import signature
from math import nan
from types import NoneType
from typing import Any, ClassVar

import numpy as np

from fastbp.autograd.functions import unwrap
from fastbp.nn.losses.loss import Loss
from fastbp.nn.losses.loss_node import constant, record_loss
from fastbp.nn.losses.one_sample import as_arrays
from fastbp.runtime.buffers import Buffer
from fastbp.validation.arrays import Array, plain, require_floats
from fastbp.validation.user_methods import is_of_the_library
from fastbp.validation.weights import require_row_weights
from fastbp_kernels.functions.losses.kernels import (
    LOSS_CODES,
    LOSSES,
    SCALARS,
    SLAB,
    LossCall,
    loss_forward,
    loss_forward_backward,
    loss_values,
    sum_of_weights,
)
from fastbp_kernels.network.arguments import Rows

NO_CLASSES = np.empty(0, np.int64)
_NO_VALUES = {char: np.empty((0, 0), char) for char in "fd"}  # by the dtype's letter, whose hash is at hand
_NO_SETTINGS = ("self", "reduction")
_PLAIN = (NoneType, bool, int, float, str)
_NO_WEIGHTS = {char: np.empty(0, char) for char in "fd"}


class _Setting:
    """A setting of a loss, which is checked when the loss is built and part of what its kernels take from then on."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, loss: Any, owner: type | None = None) -> Any:
        return self if loss is None else vars(loss)[self._name]

    def __set__(self, loss: Any, value: Any) -> None:
        if self._name in vars(loss):
            raise AttributeError(
                f"{type(loss).__name__} keeps the {self._name} that it was built with, got {value!r} for it; "
                "build another loss"
            )
        vars(loss)[self._name] = value


class KernelLoss(Loss):
    """A loss with a row in ``fastbp_kernels.functions.losses.registry``.

    Subclasses name the row; where they have several, ``row_for`` tells which. Rows of data have weights, if
    ``sample_weight`` is given: each row's loss is multiplied by its weight. The reduction "mean" then divides by the
    sum of the weights, times the elements of a row where each element has a loss, "sum" just sums, and "none" returns
    each loss times its weight. A mean over rows whose weights sum to 0 is 0, and so is its gradient.
    """

    row: ClassVar[str]
    checks_prediction: ClassVar[bool] = False  # whether not every number is a prediction
    _settings: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls) and is_of_the_library(cls):
            cls._settings = tuple(name for name in signature(cls.__init__).parameters if name not in _NO_SETTINGS)
            for name in set(cls._settings) - {*dir(cls)}:
                setattr(cls, name, _Setting(name))

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._grad = Buffer()
        self._kernel_calls: dict[tuple[Any, ...], LossCall] = {}  # by what they were made for

    @property
    def _kind(self) -> Hashable:
        """What checks of a training go by: equal for losses of one class with the same settings."""
        settings = [getattr(self, name) for name in self._settings]
        return (type(self), self._reduction, *settings) if all(type(value) in _PLAIN for value in settings) else self

    def scale(self, count: float) -> float:
        """Return the factor of the sum in a loss of so many elements or rows; NaN for a mean of none."""
        return 1.0 if self._reduction in ("sum", "none") else 1.0 / (count or nan)

    def row_for(self, target: Array) -> str:
        """Return the name of the row for targets like ``target``."""
        return self.row

    def call(self, target: Array, outputs: int, dtype: np.dtype[Any], sums_weights: bool) -> LossCall:
        """Return what the kernels take for targets like ``target`` and so many outputs a row of data."""
        key = self.row_for(target), outputs, dtype.char, self._reduction, sums_weights
        call = self._kernel_calls.get(key)
        if call is None:
            call = self._kernel_calls[key] = self._make_call(key[0], outputs, dtype, self._reduction, sums_weights)
        return call

    def _make_call(self, name: str, outputs: int, dtype: np.dtype[Any], reduction: str, sums_weights: bool) -> LossCall:
        row = LOSSES[LOSS_CODES[name]]
        over_rows = row.over == "rows"
        settings = [np.zeros(SCALARS)]
        settings[0][: len(row.scalars)] = [getattr(self, scalar) for scalar in row.scalars]
        for vector in row.vectors:
            weights = self._vector(vector, outputs)
            settings.append(weights if over_rows else np.tile(weights, SLAB))
        elements = 1 if over_rows or reduction == "batchmean" else outputs
        return LossCall(
            LOSS_CODES[name], row.target == "classes", over_rows, row.slope, reduction in ("mean", "batchmean"),
            elements, sums_weights, np.concatenate(settings).astype(dtype),
        )  # fmt: skip

    def _vector(self, name: str, outputs: int) -> Array:
        """Return the setting ``name`` with a number for each of the outputs; of ones where it is None."""
        vector = getattr(self, name)
        if vector is None:
            return np.ones(outputs)
        if vector.size in (1, outputs):
            return np.broadcast_to(vector, outputs)
        raise ValueError(
            f"{type(self).__name__} takes {name} with a number for each of {outputs} outputs, got {vector.size}; "
            "a weight for each row of data is sample_weight"
        )

    def sums_weights(self, classes: Array) -> bool:
        """Whether rows of these classes, without weights of their own, count differently in a mean."""
        return False

    def takes_indices(self, target: Array) -> bool:
        """Whether targets like ``target`` are class indices."""
        return self.takes_classes is True

    @property
    def columns_per_target(self) -> int:
        """How many columns of a prediction there are for each of the target."""
        return 1

    def require_targets(self, target: Array, outputs: int, owner: str, name: str) -> None:
        """Raise ValueError unless the numbers of ``target`` are targets for so many outputs."""

    def for_kernels(self, target: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Return targets of ``dtype`` and two dimensions, or class indices, as the kernels take them.

        They are values (n, o), or of no numbers, and classes (n,), or none.
        """
        return target, NO_CLASSES

    def _checked(self, prediction: Array, target: Array) -> tuple[Array, Array, Array]:
        """Return prediction (n, o), target (n, o) or of no numbers, and classes (n,) or none, as the kernels do."""
        name = type(self).__name__
        require_floats(prediction, name)
        if type(target) is not np.ndarray or target.dtype is not prediction.dtype:
            require_floats(target, f"{name} with a prediction of that dtype", prediction.dtype)
        if prediction.shape != target.shape:
            remedy = " to target[..., None]" if prediction.shape == (*target.shape, 1) else ""
            raise ValueError(
                f"{name} takes a target of the prediction's shape {prediction.shape}, got {target.shape}; "
                f"reshape the target{remedy}, nothing is broadcast"
            )
        return self._as_rows(plain(prediction)), self._as_rows(plain(target)), NO_CLASSES

    def _as_rows(self, array: Array) -> Array:
        """View an array of any shape as (n, elements), a vector or a number as one column."""
        if array.ndim == 2:
            return array
        n = len(array) if array.ndim else 1
        return array.reshape(n, array.size // n if n else 0) if array.ndim > 1 else array.reshape(n, 1)

    def _row_weights(self, sample_weight: Array | None, rows: Array) -> Array:
        """Return weights of the prediction's rows, of which there are none for None."""
        dtype = rows.dtype
        if sample_weight is None:
            return no_weights(dtype)
        return plain(require_row_weights(sample_weight, dtype, rows.shape[:1], type(self).__name__, "sample_weight"))

    def _call_of(self, target: Array, rows: Array, weights: Array) -> LossCall:
        """Return what the kernels take for ``rows``; to look whether classes count differently would take longer."""
        return self.call(target, rows.shape[1], rows.dtype, weights.size > 0 or self.takes_classes)

    def scale_of(self, call: LossCall, rows: int, classes: Array, weights: Array) -> float:
        """Return the factor of the sum in the loss of so many ``rows``."""
        if not (call.sums_weights and call.is_mean):
            return self.scale(rows * call.elements)
        total = sum_of_weights(call.takes_classes, call.settings, classes, weights, rows)
        return 0.0 if total == 0.0 and weights.size else self.scale(total * call.elements)

    def forward(self, prediction: Array, target: Array, sample_weight: Array | None = None) -> Any:
        """Return the loss, summed in float64, and compute its gradient on the way.

        All arrays are read here only and may change afterwards. ``sample_weight`` is a weight of 0 or more for each
        row, shape (n,), of the prediction's dtype.

        Returns
        -------
        Tensor
            A number of float64, or for the reduction "none" an array of the prediction's shape, or (n,) where a row has
            one loss.
        """
        value, node = unwrap(prediction)
        return record_loss(
            self, (node,), *self._loss_of(value, constant(target, type(self).__name__, "target"), sample_weight)
        )

    def _loss_of(self, prediction: Any, target: Any, sample_weight: Any) -> tuple[Any, tuple[Array], int | None]:
        """Return loss and gradient of plain numbers, and the axis that each loss is over, None for elements."""
        prediction, target = as_arrays(prediction, target)
        rows, values, classes = self._checked(prediction, target)
        weights = self._row_weights(sample_weight, rows)
        call = self._call_of(target, rows, weights)
        scale = self.scale_of(call, len(rows), classes, weights)
        array = self._grad.take(prediction.shape, prediction.dtype).array
        factor = prediction.dtype.type(call.slope * scale)
        total = self._value_and_gradient(call, rows, values, classes, weights, factor, self._as_rows(array))
        if self._reduction == "none":
            value: Any = self._values(call, Rows(rows, values, classes, weights), prediction)
        else:
            value = np.float64(total * scale)
        return value, (array,), 1 if call.is_over_rows else None

    def _value_and_gradient(
        self, call: LossCall, rows: Array, values: Array, classes: Array, weights: Array, factor: float, grad: Array
    ) -> float:
        code, takes_classes, is_over_rows = call[:3]
        return loss_forward_backward(
            code, takes_classes, is_over_rows, call.settings, rows, values, classes, weights, factor, grad
        )

    def _values(self, call: LossCall, rows: Rows, prediction: Array) -> Array:
        """Return the loss of each element, or of each row, in a new array."""
        shape = prediction.shape[:1] if call.is_over_rows else prediction.shape
        values = np.empty(shape, prediction.dtype)
        if values.size:
            out = values.reshape(len(rows.input), -1)
            loss_values(call, rows.input, rows.target, rows.classes, out)
            if rows.weights.size:
                with np.errstate(all="ignore"):  # as in the kernels
                    out *= rows.weights[:, None]
        return values

    def evaluate(self, prediction: Array, target: Array, sample_weight: Array | None = None) -> Any:
        """Return the loss as a number or a plain array; what ``backward`` returns stays as it was."""
        if "evaluate" in self._passed_by or "forward" in vars(self):
            return super().evaluate(prediction, target, sample_weight)
        prediction, target = as_arrays(unwrap(prediction)[0], unwrap(target)[0])
        rows, values, classes = self._checked(prediction, target)
        weights = self._row_weights(sample_weight, rows)
        call = self._call_of(target, rows, weights)
        if self._reduction == "none":
            return self._values(call, Rows(rows, values, classes, weights), prediction)
        code, takes_classes, is_over_rows = call[:3]
        total = loss_forward(code, takes_classes, is_over_rows, call.settings, rows, values, classes, weights)
        return total * self.scale_of(call, len(rows), classes, weights)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_grad": Buffer(), "_kernel_calls": {}}


def given_rows(input: Array, target: Array, weights: Array | None = None) -> Rows:
    """Return rows with a target as a criterion takes it, and maybe with a weight for each row."""
    return Rows(input, target, NO_CLASSES, _NO_WEIGHTS[input.dtype.char] if weights is None else weights)


def no_weights(dtype: np.dtype[Any]) -> Array:
    """Return what stands for the weights of rows that have none."""
    return _NO_WEIGHTS[dtype.char]


def no_values(dtype: np.dtype[Any]) -> Array:
    """Return what stands for targets where a loss takes classes."""
    return _NO_VALUES[dtype.char]

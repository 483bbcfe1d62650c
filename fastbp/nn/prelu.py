"""The rectifier whose slope below zero is trained."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.nn.operation import Operation
from fastbp.nn.parameter import Parameter
from fastbp.nn.row_module import RowModule
from fastbp.runtime.buffers import Buffer
from fastbp.validation.arrays import Array, plain, require_dtype, require_floats
from fastbp.validation.scalars import require_finite
from fastbp_kernels import prelu_backward, prelu_backward_parameters, prelu_forward


class PReLU(RowModule):
    """``x``, or ``weight * x`` where x is not above 0, as ``torch.nn.PReLU``.

    Parameters
    ----------
    num_parameters : int
        1 for one slope, with inputs of any shape; else one for each feature of inputs (n, num_parameters, ...).
    init : float
        Of the slopes.
    device : None or "cpu"
    dtype : numpy.float32 or numpy.float64

    Attributes
    ----------
    weight : Parameter of shape (num_parameters,)

    Raises
    ------
    TypeError, ValueError
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: npt.DTypeLike = np.float32
    ) -> None:
        if not isinstance(num_parameters, int | np.integer) or isinstance(num_parameters, bool) or num_parameters < 1:
            raise ValueError(f"PReLU takes num_parameters as an int of 1 or more, got {num_parameters!r}")
        if device is not None and str(device) != "cpu":
            raise ValueError(f"PReLU computes on the CPU, got device={device!r}; leave it out")
        slope = require_finite(init, "PReLU", "init")
        given = require_dtype(dtype, "PReLU")
        super().__init__()
        self.weight = Parameter(np.full(int(num_parameters), slope, given))
        self._kept_input, self._terms = Buffer(), Buffer()

    @property
    def num_parameters(self) -> int:
        return self.weight.size

    @property
    def _operation(self) -> Operation | None:
        slopes = self.num_parameters
        features = slopes if slopes > 1 else None
        return Operation("PReLU", features, self.weight, None, (float(slopes > 1),), takes_rows_only=slopes > 1)

    def _checked(self, input: Array) -> Array:
        input, features = require_floats(input, "PReLU", self.weight.dtype), self.num_parameters
        if features > 1 and (input.ndim < 2 or input.shape[1] != features):
            raise ValueError(f"PReLU({features}) takes inputs of shape (n, {features}, ...), got {input.shape}")
        return plain(input)

    def _rows(self, array: Array) -> Array:
        """View (n, features, ...) as a row for each sample where each feature has a slope."""
        if self.num_parameters == 1:
            return super()._rows(array)
        return array.reshape(len(array), prod(array.shape[1:]))

    def _slopes(self, input: Array) -> Array:
        """Return a slope for each number of a row, or the one."""
        slopes, features = self.weight.kernel_data, self.num_parameters
        return slopes if features in (1, input.shape[1]) else slopes.repeat(input.shape[1] // features)

    def _forward_rows(self, input: Array, output: Array) -> None:
        self._kept = self._kept_input.take(input.shape, input.dtype).array
        self._kept[...] = input
        self._predict_rows(input, output)

    def _predict_rows(self, input: Array, output: Array) -> None:
        prelu_forward(input, self._slopes(input), output)

    def _backward_rows(self, grad_output: Array, output: Array, grad_input: Array | None) -> None:
        input, weight, slopes = self._kept, self.weight, self._slopes(self._kept)
        if grad_input is not None:
            prelu_backward(grad_output, input, slopes, grad_input)
        if not weight.requires_grad:
            return
        is_own = slopes is weight.kernel_data
        grad = weight.kernel_grad if is_own else np.zeros_like(slopes)
        terms = self._terms.take(input.shape, input.dtype).array
        prelu_backward_parameters(grad_output, input, terms, np.empty(input.shape[1], input.dtype), grad)
        if not is_own:
            with np.errstate(all="ignore"):
                weight.kernel_grad[...] += grad.reshape(weight.size, -1).sum(axis=1)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_kept"}

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"

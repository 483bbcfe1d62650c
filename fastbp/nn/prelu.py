"""The rectifier whose slope below zero is trained."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.nn.parameter import Parameter, flatten
from fastbp.nn.row_module import RowModule
from fastbp.runtime.buffers import Buffer
from fastbp.validation.arrays import Array, plain, require_dtype, require_floats
from fastbp.validation.scalars import require_finite


class PReLU(RowModule):
    """``x``, or ``weight * x`` where x is not above 0, as ``torch.nn.PReLU``.

    The engine does not know it: a network with one trains module by module.

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
        flatten(self.parameters())
        self._kept_input = Buffer()

    @property
    def num_parameters(self) -> int:
        return self.weight.size

    def _checked(self, input: Array) -> Array:
        input, features = require_floats(input, "PReLU", self.weight.dtype), self.num_parameters
        if features > 1 and (input.ndim < 2 or input.shape[1] != features):
            raise ValueError(f"PReLU({features}) takes inputs of shape (n, {features}, ...), got {input.shape}")
        return plain(input)

    def _rows(self, array: Array) -> Array:
        """View an array as (n, features, others), as the slopes lie in it."""
        features = self.num_parameters
        if features == 1:
            return array.reshape(1, 1, array.size)
        return array.reshape(len(array), features, prod(array.shape[2:]))

    def _forward_rows(self, input: Array, output: Array) -> None:
        self._kept = self._kept_input.take(input.shape, input.dtype).array
        self._kept[...] = input
        self._predict_rows(input, output)

    def _predict_rows(self, input: Array, output: Array) -> None:
        self._times_slope(input, input, output)

    def _backward_rows(self, grad_output: Array, output: Array, grad_input: Array | None) -> None:
        input, weight = self._kept, self.weight
        if grad_input is not None:
            self._times_slope(grad_output, input, grad_input)
        if weight.requires_grad:
            with np.errstate(all="ignore"):
                terms = np.where(input > 0, 0, grad_output * input)
                weight.kernel_grad[...] += terms.sum(axis=(0, 2), dtype=np.float64).astype(weight.dtype)

    def _times_slope(self, factor: Array, input: Array, out: Array) -> None:
        """Write ``factor``, or ``weight * factor`` where ``input`` is not above 0."""
        with np.errstate(all="ignore"):
            np.multiply(factor, self.weight.kernel_data[:, None], out=out)
        np.copyto(out, factor, where=input > 0)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_kept"}

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"

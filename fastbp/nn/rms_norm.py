"""Root mean square normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.nn.operation import Operation
from fastbp.nn.parameter import Parameter
from fastbp.nn.row_module import RowModule
from fastbp.nn.setting import Setting
from fastbp.runtime.buffers import Buffer
from fastbp.validation.arrays import FLOAT_DTYPES, Array, plain, require_dtype, require_floats
from fastbp.validation.scalars import require_finite
from fastbp_kernels import layer_norm_backward_parameters, rms_norm_backward, rms_norm_forward

_EPSILON = {dtype: float(np.finfo(dtype).eps) for dtype in FLOAT_DTYPES}


def _checked_eps(owner: str, name: str, value: Any) -> float | None:
    return None if value is None else require_finite(value, owner, name, least=0)


class RMSNorm(RowModule):
    """Each sample over the root of the mean of its squares, as ``torch.nn.RMSNorm``.

    ``x / sqrt(mean(x**2) + eps) * weight`` over the last axes: Zhang and Sennrich, "Root Mean Square Layer
    Normalization", 2019.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        Of the last axes of the input.
    eps : float or None
        0 or more; None for the machine epsilon of the input's dtype. May be set later.
    elementwise_affine : bool
        Whether there is a weight, 1 at first.
    device : None or "cpu"
    dtype : numpy.float32 or numpy.float64

    Attributes
    ----------
    weight : Parameter of ``normalized_shape``, or None

    Raises
    ------
    TypeError, ValueError
    """

    _eps: float | None
    weight: Parameter | None
    eps = Setting(_checked_eps)

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int | np.integer) else tuple(normalized_shape)
        if not shape or not all(isinstance(size, int | np.integer) and size > 0 for size in shape):
            raise ValueError(f"RMSNorm takes normalized_shape as sizes of 1 or more, got {normalized_shape!r}")
        if device is not None and str(device) != "cpu":
            raise ValueError(f"RMSNorm computes on the CPU, got device={device!r}; leave it out")
        super().__init__()
        self._shape = tuple(map(int, shape))
        self.eps = eps
        given = require_dtype(dtype, "RMSNorm")
        self.weight = Parameter(np.ones(self._shape, given)) if elementwise_affine else None
        self._normalized, self._rstd = Buffer(), Buffer()

    @property
    def normalized_shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def elementwise_affine(self) -> bool:
        return self.weight is not None

    @property
    def _operation(self) -> Operation | None:
        if len(self._shape) > 1 or (self._eps is None and self.weight is None):
            return None
        dtype = np.dtype(np.float32) if self.weight is None else self.weight.dtype
        return Operation("RMSNorm", self._shape[0], self.weight, None, (self.eps_for(dtype),))

    def eps_for(self, dtype: np.dtype[Any]) -> float:
        """Return what is added to the mean of the squares of numbers of ``dtype``."""
        return _EPSILON[dtype] if self._eps is None else self._eps

    def _checked(self, input: Array) -> Array:
        input = require_floats(input, "RMSNorm", None if self.weight is None else self.weight.dtype)
        if input.shape[-len(self._shape) :] != self._shape:
            sizes = ", ".join(map(str, self._shape))
            raise ValueError(f"RMSNorm takes inputs of shape (..., {sizes}), got {input.shape}")
        return plain(input)

    def _rows(self, array: Array) -> Array:
        features = prod(self._shape)
        return array.reshape(array.size // features, features)

    def _forward_rows(self, input: Array, output: Array) -> None:
        normalized = self._normalized.take(input.shape, input.dtype).array
        self._kept = normalized, self._rstd.take((len(input),), input.dtype).array
        self._compute(input, *self._kept, output)

    def _predict_rows(self, input: Array, output: Array) -> None:
        self._compute(input, np.empty_like(input), np.empty(len(input), input.dtype), output)

    def _compute(self, input: Array, normalized: Array, rstd: Array, output: Array) -> None:
        eps = input.dtype.type(self.eps_for(input.dtype))
        rms_norm_forward(input, self._vector(input.dtype), eps, normalized, rstd, output)

    def _backward_rows(self, grad_output: Array, output: Array, grad_input: Array | None) -> None:
        normalized, rstd = self._kept
        if grad_input is not None:
            rms_norm_backward(grad_output, self._vector(output.dtype), normalized, rstd, grad_input)
        if self.weight is not None and self.weight.requires_grad:
            grad_weight = self.weight.kernel_grad.reshape(-1)
            layer_norm_backward_parameters(grad_output, normalized, grad_weight, np.empty(0, output.dtype))

    def _vector(self, dtype: np.dtype[Any]) -> Array:
        return np.empty(0, dtype) if self.weight is None else self.weight.kernel_data.reshape(-1)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_kept"}

    def extra_repr(self) -> str:
        return f"{self._shape}, eps={self._eps}, elementwise_affine={self.elementwise_affine}"

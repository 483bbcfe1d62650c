"""Layer normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.nn.operation import Operation
from fastbp.nn.parameter import Parameter, laid_out
from fastbp.nn.row_module import RowModule
from fastbp.nn.setting import Setting
from fastbp.runtime.buffers import Buffer
from fastbp.validation.arrays import Array, plain, require_dtype, require_floats
from fastbp.validation.scalars import require_finite
from fastbp_kernels import layer_norm_backward, layer_norm_backward_parameters, layer_norm_forward


class LayerNorm(RowModule):
    """Each sample less its mean and over its standard deviation, as ``torch.nn.LayerNorm``.

    ``(x - mean(x)) / sqrt(var(x) + eps) * weight + bias`` with the biased variance, over the last axes.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        Of the last axes of the input.
    eps : float
        0 or more; may be set later.
    elementwise_affine : bool
        Whether there is a weight, 1 at first.
    bias : bool
        Whether there is a bias beside the weight, 0 at first.
    device : None or "cpu"
    dtype : numpy.float32 or numpy.float64

    Attributes
    ----------
    weight, bias : Parameter of ``normalized_shape``, or None
    """

    _eps: float
    eps = Setting(lambda owner, name, value: require_finite(value, owner, name, least=0))

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int | np.integer) else tuple(normalized_shape)
        if not shape or not all(isinstance(size, int | np.integer) and size > 0 for size in shape):
            raise ValueError(f"LayerNorm takes normalized_shape as sizes of 1 or more, got {normalized_shape!r}")
        if device is not None and str(device) != "cpu":
            raise ValueError(f"LayerNorm computes on the CPU, got device={device!r}; leave it out")
        super().__init__()
        self._shape = tuple(map(int, shape))
        self.eps = eps
        given = require_dtype(dtype, "LayerNorm")
        self.weight, self.bias = laid_out(
            np.ones(self._shape, given) if elementwise_affine else None,
            np.zeros(self._shape, given) if elementwise_affine and bias else None,
        )
        self._normalized, self._rstd = Buffer(), Buffer()

    @property
    def normalized_shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def elementwise_affine(self) -> bool:
        return self.weight is not None

    @property
    def _operation(self) -> Operation | None:
        if len(self._shape) > 1:
            return None
        return Operation("LayerNorm", self._shape[0], self.weight, self.bias, (self._eps,))

    def _checked(self, input: Array) -> Array:
        dtype = None if self.weight is None else self.weight.dtype
        input = require_floats(input, "LayerNorm", dtype)
        if input.shape[-len(self._shape) :] != self._shape:
            sizes = ", ".join(map(str, self._shape))
            raise ValueError(f"LayerNorm takes inputs of shape (..., {sizes}), got {input.shape}")
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
        weight, bias = (_vector(parameter, input.dtype) for parameter in (self.weight, self.bias))
        layer_norm_forward(input, weight, bias, input.dtype.type(self._eps), normalized, rstd, output)

    def _backward_rows(self, grad_output: Array, output: Array, grad_input: Array | None) -> None:
        normalized, rstd = self._kept
        if grad_input is not None:
            layer_norm_backward(grad_output, _vector(self.weight, output.dtype), normalized, rstd, grad_input)
        grads = (_gradient(parameter, output.dtype) for parameter in (self.weight, self.bias))
        layer_norm_backward_parameters(grad_output, normalized, *grads)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_kept"}

    def extra_repr(self) -> str:
        return f"{self._shape}, eps={self._eps}, elementwise_affine={self.elementwise_affine}"


def _vector(parameter: Parameter | None, dtype: np.dtype[Any]) -> Array:
    return np.empty(0, dtype) if parameter is None else parameter.kernel_data.reshape(-1)


def _gradient(parameter: Parameter | None, dtype: np.dtype[Any]) -> Array:
    if parameter is None or not parameter.requires_grad:
        return np.empty(0, dtype)
    return parameter.kernel_grad.reshape(-1)

"""Softmax and its logarithm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastbp.nn.operation import Operation
from fastbp.nn.row_module import RowModule
from fastbp.validation.arrays import Array, plain, require_floats
from fastbp_kernels import log_softmax_backward, log_softmax_forward, softmax_backward, softmax_forward


class _OverAxis(RowModule):
    """A function of the numbers along one axis.

    Parameters
    ----------
    dim : int or None
        The axis; None for the features of inputs of shape (n, i).
    """

    forward_kernel: Callable[[Array, Array], None]
    backward_kernel: Callable[[Array, Array, Array], None]

    def __init__(self, dim: int | None = None) -> None:
        if dim is not None and (isinstance(dim, bool) or not isinstance(dim, int | np.integer)):
            raise TypeError(f"{type(self).__name__} takes dim as the number of an axis, got {dim!r}")
        super().__init__()
        self._dim = dim

    @property
    def dim(self) -> int | None:
        return self._dim

    @property
    def _operation(self) -> Operation | None:
        if self._dim not in (None, -1, 1):
            return None
        return Operation(type(self).__name__, takes_rows_only=self._dim != -1)

    def _checked(self, input: Array) -> Array:
        name = type(self).__name__
        input = require_floats(input, name)
        if self._dim is None and input.ndim != 2:
            raise ValueError(f"{name}() takes inputs of shape (n, i), got {input.shape}; pass dim=-1")
        if self._dim is not None and not -max(1, input.ndim) <= self._dim < max(1, input.ndim):
            raise ValueError(f"{name}(dim={self._dim}) takes inputs with that axis, got shape {input.shape}")
        return plain(input)

    def _rows(self, array: Array) -> Array:
        return array if array.ndim else array.reshape(1)

    def _forward_rows(self, input: Array, output: Array) -> None:
        self._along_axis(self.forward_kernel, output, input)

    def _backward_rows(self, grad_output: Array, output: Array, grad_input: Array | None) -> None:
        if grad_input is not None:
            self._along_axis(self.backward_kernel, grad_input, grad_output, output)

    def _along_axis(self, kernel: Callable[..., None], result: Array, *arrays: Array) -> None:
        """Call ``kernel`` with the axis as that of the features; what is not the last one is copied."""
        if not result.size:
            return
        axis = -1 if self._dim is None else self._dim
        moved = [np.ascontiguousarray(np.moveaxis(array, axis, -1)) for array in arrays]
        last = axis in (-1, result.ndim - 1)
        written = result if last else np.empty_like(moved[0])
        features = written.shape[-1]
        kernel(*(array.reshape(-1, features) for array in (*moved, written)))
        if not last:
            result[...] = np.moveaxis(written, -1, axis)

    def extra_repr(self) -> str:
        return f"dim={self._dim}"


class Softmax(_OverAxis):
    """``exp(x) / sum(exp(x))`` along an axis, as ``torch.nn.Softmax``."""

    forward_kernel = staticmethod(softmax_forward)
    backward_kernel = staticmethod(softmax_backward)


class LogSoftmax(_OverAxis):
    """``x - log(sum(exp(x)))`` along an axis, as ``torch.nn.LogSoftmax``."""

    forward_kernel = staticmethod(log_softmax_forward)
    backward_kernel = staticmethod(log_softmax_backward)

"""Softmax and its logarithm."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from fastbp.nn.operation import Operation
from fastbp.nn.row_module import RowModule
from fastbp.validation.arrays import Array, plain, require_floats
from fastbp_kernels import log_softmax_backward, log_softmax_forward, softmax_backward, softmax_forward
from fastbp_kernels.network.table import LOG_SOFTMAX, SOFTMAX


class _OverLastAxis(RowModule):
    """A function of the last axis.

    Parameters
    ----------
    dim : -1, 1 or None
        The axis; 1 and None are for inputs of two dimensions.
    """

    settings: ClassVar[tuple[str, ...]] = ()
    code: ClassVar[int]
    forward_kernel: Callable[[Array, Array], None]
    backward_kernel: Callable[[Array, Array, Array], None]

    def __init__(self, dim: int | None = None) -> None:
        if dim not in (None, -1, 1) or isinstance(dim, bool):
            raise ValueError(f"{type(self).__name__} takes dim -1, the last axis, or 1 of two, got {dim!r}")
        super().__init__()
        self._dim = dim

    @property
    def dim(self) -> int | None:
        return self._dim

    @property
    def _operation(self) -> Operation:
        return Operation(self.code, takes_activation=False)

    def _checked(self, input: Array) -> Array:
        name = type(self).__name__
        input = require_floats(input, name)
        if not input.ndim or (self._dim != -1 and input.ndim != 2):
            raise ValueError(f"{name}(dim={self._dim}) takes inputs of shape (n, i), got {input.shape}; pass dim=-1")
        if not input.shape[-1]:
            raise ValueError(f"{name} takes one feature or more, got {input.shape}")
        return plain(input)

    def _forward_rows(self, input: Array, output: Array) -> None:
        self.forward_kernel(input, output)

    def _backward_rows(self, grad_output: Array, output: Array, grad_input: Array | None) -> None:
        if grad_input is not None:
            self.backward_kernel(grad_output, output, grad_input)

    def extra_repr(self) -> str:
        return f"dim={self._dim}"


class Softmax(_OverLastAxis):
    """``exp(x) / sum(exp(x))`` over the last axis, as ``torch.nn.Softmax``."""

    code = SOFTMAX
    forward_kernel = staticmethod(softmax_forward)
    backward_kernel = staticmethod(softmax_backward)


class LogSoftmax(_OverLastAxis):
    """``x - log(sum(exp(x)))`` over the last axis, as ``torch.nn.LogSoftmax``."""

    code = LOG_SOFTMAX
    forward_kernel = staticmethod(log_softmax_forward)
    backward_kernel = staticmethod(log_softmax_backward)

"""Batch normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.nn.operation import Operation
from fastbp.nn.parameter import laid_out
from fastbp.nn.row_module import RowModule
from fastbp.nn.setting import Setting
from fastbp.runtime.buffers import Buffer
from fastbp.validation.arrays import Array, plain, require_dtype, require_floats
from fastbp.validation.scalars import require_finite
from fastbp_kernels import batch_norm_backward, batch_norm_forward, layer_norm_backward_parameters


def _checked_momentum(owner: str, name: str, value: Any) -> float | None:
    momentum = None if value is None else require_finite(value, owner, name, least=0)
    if momentum is not None and momentum > 1:
        raise ValueError(f"{owner} takes a {name} from 0 to 1 or None, got {value!r}")
    return momentum


class BatchNorm1d(RowModule):
    """Each feature less its mean and over its standard deviation over the samples, as ``torch.nn.BatchNorm1d``.

    In training by the statistics of the mini-batch, which running ones follow; after ``eval()``, and in ``predict``, by
    the running ones. Inputs have the shape (n, features) or (n, features, places), where places count like samples.

    Parameters
    ----------
    num_features : int
    eps : float
        Added to the variance, 0 or more; may be set later.
    momentum : float or None
        The weight of a mini-batch in the running statistics, from 0 to 1; None for their mean over all mini-batches. It
        may be set later.
    affine : bool
        Whether there is a weight, 1 at first.
    track_running_stats : bool
        Without them a mini-batch's own statistics are taken always.
    device : None or "cpu"
    dtype : numpy.float32 or numpy.float64
    bias : bool
        Whether there is a bias beside the weight, 0 at first.

    Attributes
    ----------
    weight, bias : Parameter of shape (num_features,), or None
    running_mean, running_var : ndarray of shape (num_features,), or None
    num_batches_tracked : ndarray of int64, shape (), or None
    """

    eps = Setting(lambda owner, name, value: require_finite(value, owner, name, least=0))
    momentum = Setting(_checked_momentum)

    _has_modes = True
    _buffer_names = ("running_mean", "running_var", "num_batches_tracked")
    _eps: float
    _momentum: float | None
    running_mean: Array | None
    running_var: Array | None
    num_batches_tracked: Array | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: npt.DTypeLike = np.float32,
        *,
        bias: bool = True,
    ) -> None:
        if isinstance(num_features, bool) or not isinstance(num_features, int | np.integer) or num_features < 1:
            raise ValueError(f"BatchNorm1d takes num_features as an int of 1 or more, got {num_features!r}")
        if device is not None and str(device) != "cpu":
            raise ValueError(f"BatchNorm1d computes on the CPU, got device={device!r}; leave it out")
        super().__init__()
        self._features = int(num_features)
        self.eps, self.momentum = eps, momentum
        given = require_dtype(dtype, "BatchNorm1d")
        self.weight, self.bias = laid_out(
            np.ones(self._features, given) if affine else None,
            np.zeros(self._features, given) if affine and bias else None,
        )
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if track_running_stats:
            self.running_mean, self.running_var = np.zeros(self._features, given), np.ones(self._features, given)
            self.num_batches_tracked = np.zeros((), np.int64)
        self._normalized, self._rstd = Buffer(), Buffer()
        self._dtype = given

    def __setattr__(self, name: str, value: Any) -> None:
        """Copy what is set in the place of running statistics: the engine writes to the arrays that are there."""
        own = vars(self).get(name) if name in self._buffer_names else None
        if own is None:
            super().__setattr__(name, value)
            return
        if np.shape(value) != own.shape or np.asarray(value).dtype.kind not in "fiu":
            came = type(value).__name__ if np.ndim(value) == 0 else f"one of shape {np.shape(value)}"
            raise ValueError(f"BatchNorm1d.{name} takes an array of shape {own.shape}, got {came}")
        own[...] = value

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Own the running statistics: those of a pickle may lie where nobody may write."""
        super().__setstate__(state)
        vars(self).update({name: np.array(vars(self)[name]) for name, _ in self.named_buffers()})

    @property
    def num_features(self) -> int:
        return self._features

    @property
    def affine(self) -> bool:
        return self.weight is not None

    @property
    def track_running_stats(self) -> bool:
        return self.running_mean is not None

    @property
    def takes_batch(self) -> bool:
        """Whether a forward takes the statistics of its mini-batch."""
        return self.training or self.running_mean is None

    @property
    def _least_rows(self) -> int:
        return 2 if self.takes_batch else 1

    @property
    def _operation(self) -> Operation | None:
        if self.running_mean is None:
            return None  # a prediction would depend on the rows beside it
        momentum = -1.0 if self._momentum is None else self._momentum
        scalars = self._eps, momentum
        return Operation("BatchNorm1d", self._features, self.weight, self.bias, scalars, takes_rows_only=True)

    def _integers(self) -> tuple[int, ...]:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        addresses = self.running_mean.ctypes.data, self.running_var.ctypes.data
        return int(self.num_batches_tracked), *addresses, self.takes_batch

    def _note_mini_batches(self, count: int) -> None:
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += count

    def reset_running_stats(self) -> None:
        """Begin the running statistics anew."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean[...], self.running_var[...], self.num_batches_tracked[...] = 0, 1, 0

    def _follow_dtype(self) -> None:
        if self.weight is not None and self.weight.dtype is not self._dtype:
            self._convert_buffers(self.weight.dtype)
            self.changed()

    def _convert_buffers(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        super()._convert_buffers(dtype)

    def _checked(self, input: Array) -> Array:
        input = require_floats(input, "BatchNorm1d", self._dtype)
        if input.ndim not in (2, 3) or input.shape[1] != self._features:
            sizes = f"(n, {self._features}) or (n, {self._features}, places)"
            raise ValueError(f"BatchNorm1d takes inputs of shape {sizes}, got {input.shape}")
        return plain(input)

    def _rows(self, array: Array) -> Array:
        return array

    def _forward_rows(self, input: Array, output: Array) -> tuple[Any, ...]:
        if input.ndim == 3:
            kept: tuple[Any, ...] = _over_places(self._forward_rows, input, output)
            return kept
        if len(input) == 1 < self._least_rows:
            raise ValueError(f"BatchNorm1d takes mini-batches of 2 rows or more in training, got {len(input)}")
        momentum = 0.0 if self.takes_batch else -1.0
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            momentum = 1 / float(self.num_batches_tracked)
            if self._momentum is not None:
                momentum = float(input.dtype.type(self._momentum))  # as the engine has it
        normalized = self._normalized.take(input.shape, input.dtype).array
        rstd = self._rstd.take((self._features,), input.dtype).array
        follows = self.training or not self.takes_batch
        if len(input):  # else there are no statistics
            self._compute(input, momentum, follows, normalized, rstd, output)
        return normalized, rstd, int(self.takes_batch), self.weight, self.bias

    def _predict_rows(self, input: Array, output: Array) -> None:
        if input.ndim == 3:
            _over_places(self._predict_rows, input, output)
            return
        runs = self.running_mean is not None
        rstd = np.empty(self._features, input.dtype)
        self._compute(input, -1.0 if runs else 0.0, runs, np.empty_like(input), rstd, output)

    def _compute(
        self, input: Array, momentum: float, runs: bool, normalized: Array, rstd: Array, output: Array
    ) -> None:
        none, number = np.empty(0, input.dtype), input.dtype.type
        weight, bias = (none if each is None else each.kernel_data for each in (self.weight, self.bias))
        running = (none, none)
        if runs and self.running_mean is not None and self.running_var is not None:
            running = self.running_mean, self.running_var
        batch_norm_forward(input, weight, bias, number(self._eps), momentum, *running, normalized, rstd, output)

    @staticmethod
    def _backward_rows(grad_output: Array, output: Array, grad_input: Array | None, /, *kept: Any) -> None:
        if grad_output.ndim == 3:
            written = np.empty_like(grad_output) if grad_input is None else grad_input
            _over_places(lambda grad, out: BatchNorm1d._backward_rows(grad, grad, out, *kept), grad_output, written)
            return
        normalized, rstd, takes_batch, weight, bias = kept
        none = np.empty(0, output.dtype)
        if grad_input is not None:
            factors = none if weight is None else weight.kernel_data
            batch_norm_backward(grad_output, factors, normalized, rstd, takes_batch, grad_input)
        grads = (none if each is None or not each.requires_grad else each.kernel_grad for each in (weight, bias))
        layer_norm_backward_parameters(grad_output, normalized, *grads)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return state | {name: np.copy(state[name]) for name in self._buffer_names if state[name] is not None}

    def extra_repr(self) -> str:
        options = f"eps={self._eps}, momentum={self._momentum}, affine={self.affine}"
        return f"{self._features}, {options}, track_running_stats={self.track_running_stats}"


def _over_places(compute: Callable[[Array, Array], Any], input: Array, output: Array) -> Any:
    """Return ``compute`` of a row for each place of each sample (n, features, places)."""
    moved = np.ascontiguousarray(np.moveaxis(input, 1, 2))
    result = np.empty_like(moved)
    rows = moved.size // input.shape[1], input.shape[1]
    returned = compute(moved.reshape(rows), result.reshape(rows))
    output[...] = np.moveaxis(result, 2, 1)
    return returned

"""The fully connected layer."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.nn.forward_node import as_it_was, numbers_and_node, record_forward, trained
from fastbp.nn.init import Init, initial_values
from fastbp.nn.module import Module, locked
from fastbp.nn.parameter import Parameter, laid_out
from fastbp.runtime.buffers import Buffer
from fastbp.runtime.model_lock import read
from fastbp.runtime.threads import whole_or_shared
from fastbp.validation.arrays import (
    FLOAT_DTYPES,
    Array,
    RandomSource,
    as_rows,
    plain,
    require_dtype,
    require_floats,
    require_generator,
)
from fastbp_kernels import (
    linear_backward,
    linear_backward_input,
    linear_backward_input_share,
    linear_backward_parameters,
    linear_backward_parameters_share,
    linear_backward_share,
    linear_forward,
    linear_forward_share,
)

_ABSENT_BIAS = {dtype: np.empty(0, dtype) for dtype in FLOAT_DTYPES}


class Linear(Module):
    """``output = input @ weight.T + bias``, as ``torch.nn.Linear``.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of the last axis of input and output, 1 or more.
    bias : bool
        Whether to add a bias.
    init : str, callable or None
        How the parameters start: None or "default" as in PyTorch; else an initialiser of ``fastbp.nn.init``, or its
        name, for the weight, with a bias of zero.
    rng : numpy.random.Generator, int or None
        Source of the initial values, or its seed.
    device : None or "cpu"
        As PyTorch writes it; there is no other.
    dtype : numpy.float32 or numpy.float64

    Attributes
    ----------
    weight : Parameter of shape (out_features, in_features)
    bias : Parameter of shape (out_features,), or None
    """

    weight: Parameter
    bias: Parameter | None
    _name: str
    _in_features: int
    _out_features: int
    _flop_per_row: int
    _output: Buffer
    _grad_input: Buffer

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Init = None,
        rng: RandomSource = None,
        device: Any = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        if not isinstance(bias, bool | np.bool_):
            raise TypeError(f"Linear takes bias as True or False, got {type(bias).__name__}")
        if device is not None and str(device) != "cpu":
            raise ValueError(f"Linear computes on the CPU, got device={device!r}; leave it out")
        for name, features in (("in_features", in_features), ("out_features", out_features)):
            if not isinstance(features, int | np.integer) or features < 1:
                raise ValueError(f"Linear takes {name} as an int of 1 or more, got {features!r}")
        in_features, out_features, dtype = int(in_features), int(out_features), require_dtype(dtype, "Linear")
        if in_features * out_features * dtype.itemsize > sys.maxsize:
            raise ValueError(f"Linear({in_features}, {out_features}) is larger than any memory")

        weight, bias_values = initial_values(init, out_features, in_features, require_generator(rng, "Linear"), dtype)
        vars(self).update(  # none of it is a parameter or a module
            _name=f"Linear({in_features}, {out_features})", _in_features=in_features, _out_features=out_features,
            _flop_per_row=2 * in_features * out_features, _output=Buffer(), _grad_input=Buffer(),
        )  # fmt: skip
        self.weight, self.bias = laid_out(weight, bias_values if bias else None)

        self._follow_dtype()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._follow_dtype()

    def _follow_dtype(self) -> None:
        if vars(self).get("_dtype") is not self.weight.dtype:
            self._dtype = self.weight.dtype

    @property
    def in_features(self) -> int:
        return self._in_features

    @property
    def out_features(self) -> int:
        return self._out_features

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.weight.dtype

    def __setattr__(self, name: str, value: Any) -> None:
        """Let another parameter take the place of weight or bias where it has its shape and dtype; None for no bias."""
        weight = vars(self).get("weight")
        if weight is not None and name in ("weight", "bias") and not (name == "bias" and value is None):
            shape = weight.shape if name == "weight" else weight.shape[:1]
            if not isinstance(value, Parameter) or (value.shape, value.dtype) != (shape, weight.dtype):
                came = f"{value.dtype} of shape {value.shape}" if isinstance(value, Parameter) else repr(value)
                raise ValueError(f"{self._name}.{name} takes a Parameter, {weight.dtype} of shape {shape}, got {came}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in ("weight", "bias"):
            raise AttributeError(f"{self._name} needs its {name}; set bias to None for a layer without one")
        super().__delattr__(name)

    @locked
    def forward(self, input: Array) -> Array:
        """Return the output for ``input``.

        Parameters
        ----------
        input : ndarray of shape (..., in_features)
            Kept for the backward, and not copied.

        Returns
        -------
        output : Tensor of shape (..., out_features)
            To be read. It keeps its numbers for as long as somebody holds it.
        """
        value, node = numbers_and_node(input)
        checked, weight, bias = self._checked(value), self.weight, self.bias
        slot = self._output.take((*checked.shape[:-1], self._out_features), self._dtype)
        self._compute(checked, slot.array)
        return record_forward(
            self, node, slot, _back, (weight, bias, checked, checked.shape, self._grad_input), weight.storage.lock,
            trained(weight, bias), reads_for_input=(weight,), check_kept=_check_kept,
        )  # fmt: skip

    def predict(self, input: Array) -> Array:
        if not self._takes("predict"):
            return super().predict(input)  # type: ignore[no-any-return]
        lock, checked = self._current().lock, self._checked(numbers_and_node(input)[0])

        def compute() -> Array:
            output = np.empty((*checked.shape[:-1], self._out_features), self._dtype)
            self._compute(checked, output)
            return output

        return read(lock, compute)

    def _compute(self, input: Array, output: Array) -> None:
        rows = as_rows(input)
        bias = _ABSENT_BIAS[self._dtype] if self.bias is None else self.bias.kernel_data
        forward = whole_or_shared(self._flop_per_row * len(rows), linear_forward, linear_forward_share)
        forward(rows, self.weight.kernel_data, bias, as_rows(output))

    def _checked(self, input: Array) -> Array:
        if type(input) is not np.ndarray or input.dtype != self._dtype:
            require_floats(input, self._name, self._dtype)
        shape = input.shape
        if not shape or shape[-1] != self._in_features:
            raise ValueError(f"{self._name} takes inputs of shape (..., {self._in_features}), got {shape}")
        return plain(input)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def _check_kept(weight: Parameter, bias: Parameter | None, input: Array, shape: tuple[int, ...], *_: Any) -> None:
    as_it_was(input, shape, weight.dtype, "Linear")


def _back(
    grad_output: Array, wants_input: bool, weight: Parameter, bias: Parameter | None, input: Array,
    shape: tuple[int, ...], grad_inputs: Buffer,
) -> Array | None:  # fmt: skip
    """Add to the gradients of weight and bias, and return that of the input."""
    dtype = grad_output.dtype
    rows, grad_rows = as_rows(as_it_was(input, shape, dtype, "Linear")), as_rows(grad_output)
    flop = 2 * weight.size * len(rows)
    grad_bias = bias.kernel_grad if bias is not None and bias.requires_grad else _ABSENT_BIAS[dtype]
    is_frozen = not weight.requires_grad and not grad_bias.size
    # Where only the bias is trained the gradient of the weight goes to memory that nobody reads.
    grad_weight = weight.kernel_grad if weight.requires_grad or is_frozen else np.empty_like(weight.kernel_grad)
    if not wants_input:
        if not is_frozen:
            alone = whole_or_shared(flop, linear_backward_parameters, linear_backward_parameters_share)
            alone(grad_rows, rows, grad_weight, grad_bias)
        return None
    array = grad_inputs.take(shape, dtype).array
    if is_frozen:
        of_input = whole_or_shared(flop, linear_backward_input, linear_backward_input_share)
        of_input(grad_rows, weight.kernel_data, as_rows(array))
    else:
        both = whole_or_shared(2 * flop, linear_backward, linear_backward_share)
        both(grad_rows, rows, weight.kernel_data, grad_weight, grad_bias, as_rows(array))
    return array

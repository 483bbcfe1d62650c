"""The fully connected layer."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.nn.init import Init, initial_values
from fastbp.nn.last_forward import LastForward, token_of_input
from fastbp.nn.module import Module, locked
from fastbp.nn.parameter import Parameter, laid_out
from fastbp.runtime.buffers import Buffer
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
    _last_forward: LastForward
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
        self._name = f"Linear({in_features}, {out_features})"
        self._in_features, self._out_features = in_features, out_features
        self.weight, self.bias = laid_out(weight, bias_values if bias else None)

        self._flop_per_row = 2 * in_features * out_features
        self._follow_dtype()
        self._output, self._grad_input, self._last_forward = Buffer(), Buffer(), LastForward()

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
        if name in ("weight", "bias") and "_last_forward" in vars(self):
            self._last_forward.forget()  # which was that of another parameter

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
            Kept for ``backward``, and not copied.

        Returns
        -------
        output : ndarray of shape (..., out_features)
            To be read. It keeps its numbers for as long as somebody holds it.
        """
        checked, last = self._checked(input), self._last_forward
        shape = (*checked.shape[:-1], self._out_features)
        slot = self._output.take(shape, self._dtype)
        last.forget()
        self._compute(checked, slot.array)
        return last.keep(checked, token_of_input(input), slot, self._current().changes)

    def predict(self, input: Array) -> Array:
        if not self._takes("predict"):
            return super().predict(input)
        lock, input = self._current().lock, self._checked(input)
        changes = lock.changes
        output = np.empty((*input.shape[:-1], self._out_features), self._dtype)
        self._compute(input, output)
        if lock.writer or lock.changes != changes:
            lock.check_reading(changes)
        return output

    @locked
    def backward(self, grad_output: Array, *, retain_graph: bool = False) -> Array:
        """Add to the gradients of weight and bias and return the gradient with respect to the input.

        Parameters
        ----------
        grad_output : ndarray of the last output's shape
        retain_graph : bool
            Whether another backward may follow this one for the same forward.

        Returns
        -------
        grad_input : ndarray of the last input's shape
        """
        rows, input = self._rows_of_backward(grad_output)
        shape, weight = self._last_forward.input.shape, self.weight
        slot = self._grad_input.take(shape, self._dtype)
        flop = self._flop_per_row * len(rows)
        self._last_forward.spend(retain_graph)
        self._current().note_grads()
        if self._is_frozen:
            backward = whole_or_shared(flop, linear_backward_input, linear_backward_input_share)
            backward(rows, weight.kernel_data, as_rows(slot.array))
        else:
            backward = whole_or_shared(2 * flop, linear_backward, linear_backward_share)
            backward(rows, input, weight.kernel_data, self._grad_weight, self._grad_bias, as_rows(slot.array))
        slot.memory.gradient_for = self._last_forward.input_token
        return slot.array.view()

    @locked
    def backward_parameters(self, grad_output: Array, *, retain_graph: bool = False) -> None:
        if not self._takes("backward_parameters"):
            super().backward_parameters(grad_output, retain_graph=retain_graph)
            return
        rows, input = self._rows_of_backward(grad_output)
        flop = self._flop_per_row * len(rows)
        backward = whole_or_shared(flop, linear_backward_parameters, linear_backward_parameters_share)
        self._last_forward.spend(retain_graph)
        self._current().note_grads()
        if not self._is_frozen:
            backward(rows, input, self._grad_weight, self._grad_bias)

    def _rows_of_backward(self, grad_output: Array) -> tuple[Array, Array]:
        """Return gradient and input of the last forward as rows, after checking the gradient."""
        last = self._last_forward
        if last.chain is not None:
            last.chain.hand_over()
        flat = self._current()
        checked = last.checked(grad_output, type(self).__name__, self._output, flat.changes, flat)
        return as_rows(checked), as_rows(plain(last.input))

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

    @property
    def _grad_bias(self) -> Array:
        """Where the gradient of the bias is added to; of no size where nobody needs it."""
        return self.bias.kernel_grad if self.bias is not None and self.bias.requires_grad else _ABSENT_BIAS[self._dtype]

    @property
    def _grad_weight(self) -> Array:
        """Where the gradient of the weight is added to; memory that nobody reads where nobody needs it."""
        weight = self.weight
        return weight.kernel_grad if weight.requires_grad else np.empty_like(weight.kernel_grad)

    @property
    def _is_frozen(self) -> bool:
        return not self.weight.requires_grad and not self._grad_bias.size

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

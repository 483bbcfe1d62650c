"""Optimisers with the names and meanings of ``torch.optim``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf, isfinite
from typing import Any

import numpy as np

from fastbp.guard import holder
from fastbp.nn.parameter import FlatView, Parameter
from fastbp_kernels import sgd_step

# What torch.optim.SGD takes besides params and lr.
_OPTIONS = frozenset(
    ("momentum", "dampening", "weight_decay", "nesterov", "maximize", "foreach", "differentiable", "fused")
)


class SGD:
    """Stochastic gradient descent, ``parameter -= lr * grad``, as ``torch.optim.SGD`` without momentum.

    Parameters
    ----------
    params : iterable of Parameter
        Parameters of modules, such as ``model.parameters()``.
    lr : float
        Learning rate, 0 or more.
    **options
        PyTorch's other options, such as ``momentum`` and ``weight_decay``, at the values that change nothing: 0, False
        or None. So a call that spells them out runs as it is, and one that needs them raises ValueError.
    """

    def __init__(self, params: Iterable[Parameter], lr: float = 1e-3, **options: Any) -> None:
        _refuse_unsupported(options)
        if not isinstance(params, Iterable):
            raise TypeError(
                f"SGD takes an iterable of parameters, got {type(params).__name__}; pass model.parameters()"
            )
        given = list(params)
        if not given:
            raise ValueError("SGD takes one parameter or more, got none; a generator such as parameters() serves once")
        for parameter in given:
            if not isinstance(parameter, Parameter):
                raise TypeError(
                    f"SGD takes fastbp.nn.Parameter, got {type(parameter).__name__}; pass model.parameters()"
                )
            if not parameter.registered:
                raise ValueError(
                    f"SGD takes parameters of a module, got one of shape {parameter.shape} that is in none; "
                    "set it as an attribute of a Module first"
                )
        self.parameters = tuple(dict.fromkeys(given))
        self.lr = lr
        self._flat = FlatView()

    @property
    def lr(self) -> float:
        """Learning rate; may be set between steps."""
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        if isinstance(lr, bool) or not isinstance(lr, int | float | np.integer | np.floating):
            raise TypeError(f"SGD takes lr as a number, got {lr!r}")
        try:
            value = float(lr)
        except OverflowError:  # an int of more than 308 digits
            value = inf
        if not (isfinite(value) and value >= 0):
            raise ValueError(f"SGD takes a finite lr of 0 or more, got {lr!r}")
        for dtype in {parameter.dtype for parameter in self.parameters}:
            if value > float(np.finfo(dtype).max):
                raise ValueError(f"SGD takes an lr that {dtype} holds, the parameters' dtype, got {lr!r}")
        self._lr = value

    @holder
    def step(self) -> None:
        """Move every parameter against its gradient."""
        flat = self._current()
        guard = flat.guard
        with guard:
            for data, grad in flat.runs:
                sgd_step(data, grad, data.dtype.type(self._lr))

    def zero_grad(self) -> None:
        """Set the gradients of this optimiser's parameters to zero."""
        self._current().zero_grad()

    def _current(self) -> FlatView:
        if not self._flat.is_current:
            self._flat = FlatView(self.parameters)
        return self._flat

    def __repr__(self) -> str:
        return f"SGD({len(self.parameters)} parameters, lr={self._lr})"


def _refuse_unsupported(options: Mapping[str, Any]) -> None:
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown:
        raise TypeError(f"SGD takes params and lr, got {', '.join(unknown)}")
    asked = [f"{name}={value!r}" for name, value in options.items() if value]
    if asked:
        raise ValueError(f"SGD computes parameter -= lr * grad and does not support {', '.join(asked)}")

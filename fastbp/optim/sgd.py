"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from fastbp.nn.parameter import FlatView, Parameter
from fastbp.optim.parameter_group import ParameterGroup, refuse_unsupported
from fastbp.optim.state import build_state, read_lr
from fastbp.runtime.model_lock import ModelLock, holder
from fastbp.validation.scalars import require_finite
from fastbp_kernels import sgd_step

_ONE_GROUP = (
    "SGD has one group of parameters; build it over all of them: "
    "SGD([*model.parameters(), *other.parameters()], lr), or an SGD for each lr"
)


class SGD:
    """Stochastic gradient descent, ``parameter -= lr * grad``, as ``torch.optim.SGD`` without momentum.

    Parameters
    ----------
    params : iterable of Parameter, or one group
        Parameters of modules, such as ``model.parameters()``. In PyTorch's form of groups there can be one:
        ``[{"params": model.parameters(), "lr": 0.1}]``.
    lr : float
        Learning rate, 0 or more.
    **options
        PyTorch's other options, such as ``momentum`` and ``weight_decay``, at the values that change nothing: 0, False
        or None. So a call that spells them out runs as it is, and one that needs them raises ValueError.
    """

    def __init__(self, params: Iterable[Parameter], lr: float = 1e-3, **options: Any) -> None:
        refuse_unsupported(options)
        given = _listed(params)
        if any(isinstance(entry, Mapping) for entry in given):
            given, lr = _read_group(given, lr)
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
        value = require_finite(lr, "SGD", "lr", least=0)
        for dtype in {parameter.dtype for parameter in self.parameters}:
            if value > float(np.finfo(dtype).max):
                raise ValueError(f"SGD takes an lr that {dtype} holds, the parameters' dtype, got {lr!r}")
        self._lr = value

    @property
    def param_groups(self) -> tuple[ParameterGroup]:
        """The parameters and options as PyTorch gives them: ``for group in opt.param_groups: group["lr"] *= 0.1``."""
        return (ParameterGroup(self),)

    def add_param_group(self, param_group: Any) -> NoReturn:
        """Raise NotImplementedError: there is one group."""
        raise NotImplementedError(_ONE_GROUP)

    def state_dict(self) -> dict[str, Any]:
        """Return the settings in the form of ``torch.optim.SGD.state_dict``, which has "param_groups" and "state"."""
        return build_state(self._lr, len(self.parameters))

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take the settings from a state dictionary of this class or of ``torch.optim.SGD``.

        Raises
        ------
        TypeError, ValueError
            If it is the state of another optimiser or over another number of parameters, if an option in it would
            change the step, or if its lr could not be set. Nothing changes then.
        """
        self.lr = read_lr(state_dict, len(self.parameters))

    @holder
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter against its gradient.

        ``closure``, if given, is called first, to compute the gradients; its value is returned.
        """
        if closure is not None and not callable(closure):
            raise TypeError(f"SGD.step takes closure as a function or None, got {type(closure).__name__}")
        loss = None if closure is None else closure()
        flat = self._current()
        lock = flat.lock
        with lock:
            if type(lock) is ModelLock:
                lock.written = flat.spans[lock]
            for data, grad in flat.runs:
                sgd_step(data, grad, data.dtype.type(self._lr))
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients of this optimiser's parameters to zero, whatever ``set_to_none``.

        Gradients are views of one vector: where PyTorch has None after ``zero_grad``, they are zero.
        """
        self._current().zero_grad()

    def _current(self) -> FlatView:
        if not self._flat.is_current:
            self._flat = FlatView(self.parameters)
        return self._flat

    def __repr__(self) -> str:
        return f"SGD({len(self.parameters)} parameters, lr={self._lr})"


def _listed(params: Iterable[Any]) -> list[Any]:
    if isinstance(params, Parameter) or not isinstance(params, Iterable):
        raise TypeError(f"SGD takes an iterable of parameters, got {type(params).__name__}; pass model.parameters()")
    return list(params)


def _read_group(groups: list[Any], lr: float) -> tuple[list[Any], float]:
    """Return parameters and learning rate of the only entry of ``groups``, in PyTorch's form."""
    if len(groups) > 1:
        raise NotImplementedError(_ONE_GROUP)
    options = dict(groups[0])
    if "params" not in options:
        raise ValueError(f"SGD takes a group with 'params', got {', '.join(map(repr, options))}")
    params, lr = options.pop("params"), options.pop("lr", lr)
    refuse_unsupported(options)
    return [params] if isinstance(params, Parameter) else _listed(params), lr

"""What all optimisers share: parameters, settings in PyTorch's form, and a step by one kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NoReturn

import numpy as np

from fastbp.nn.parameter import FlatView, Parameter
from fastbp.optim.parameter_group import ParameterGroup, refuse_unsupported
from fastbp.optim.state_dict import build_state, read_state
from fastbp.optim.state_vectors import StateVectors
from fastbp.runtime.model_lock import ModelLock, holder
from fastbp.validation.arrays import Array
from fastbp.validation.scalars import require_finite
from fastbp_kernels.functions.optimizers import OPTIMIZER_CODES, OPTIMIZERS, step_parameters


class Optimizer:
    """An optimiser over parameters of modules. Subclasses give their settings and the scalars of a step.

    Parameters
    ----------
    params : iterable of Parameter, or one group
        Parameters of modules, such as ``model.parameters()``. In PyTorch's form of groups there can be one:
        ``[{"params": model.parameters(), "lr": 0.1}]``.
    settings : mapping of str to object
        The values of the class's ``settings``; a group's go before.
    options : mapping of str to object
        PyTorch's other options.

    Attributes
    ----------
    parameters : tuple of Parameter
    settings : tuple of str
        Names of the attributes that may be set between steps.
    neutral_options : mapping of str to object
        PyTorch's other options, at the values that change nothing.
    formula : str
        What a step computes, for errors.
    row : str
        The name of its row in ``fastbp_kernels.functions.optimizers``.
    code : int
        The place of that row.
    """

    settings: ClassVar[tuple[str, ...]]
    neutral_options: ClassVar[Mapping[str, Any]]
    formula: ClassVar[str]
    row: ClassVar[str]

    def __init__(self, params: Iterable[Parameter], settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        refuse_unsupported(type(self), options)
        self.code = OPTIMIZER_CODES[self.row]
        given = self._listed(params)
        if any(isinstance(entry, Mapping) for entry in given):
            given, settings = self._read_group(given, settings)
        self._require_parameters(given)
        self.parameters = tuple(dict.fromkeys(given))
        for name, value in settings.items():
            setattr(self, name, value)
        self._flat = FlatView()
        self._beside: tuple[FlatView | None, Array | None] = None, None
        self._in_order: list[Parameter] = []
        self._steps = 0
        self._state = StateVectors(OPTIMIZERS[self.code].state)

    @property
    def steps(self) -> int:
        """Number of steps made so far."""
        return self._steps

    @property
    def lr(self) -> float:
        """Learning rate; may be set between steps."""
        return self._lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._lr = self._require_setting(lr, "lr")

    def _require_setting(self, value: Any, name: str) -> float:
        """Return a setting of 0 or more that the parameters' dtypes hold."""
        number = require_finite(value, type(self).__name__, name, least=0)
        for dtype in {parameter.dtype for parameter in self.parameters}:
            if number > float(np.finfo(dtype).max):
                article = "an" if name[0] in "aeiol" else "a"
                raise ValueError(
                    f"{type(self).__name__} takes {article} {name} that {dtype} holds, the parameters' dtype, "
                    f"got {value!r}"
                )
        return number

    @property
    def param_groups(self) -> tuple[ParameterGroup]:
        """The parameters and options as PyTorch gives them: ``for group in opt.param_groups: group["lr"] *= 0.1``."""
        return (ParameterGroup(self),)

    def add_param_group(self, param_group: Any) -> NoReturn:
        """Raise NotImplementedError: there is one group."""
        raise NotImplementedError(self._one_group())

    def state_dict(self) -> dict[str, Any]:
        """Return settings and state in the form of ``torch.optim.Optimizer.state_dict``: "param_groups" and "state"."""
        return build_state(self)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take settings and state from a state dictionary of this class or of PyTorch's.

        Raises
        ------
        TypeError, ValueError
            If it is the state of another optimiser or over another number of parameters, if an option in it would
            change the step, or if its settings could not be set. Nothing changes then.
        """
        settings, steps, state = read_state(self, state_dict)
        before = {name: getattr(self, name) for name in settings}
        try:
            for name, value in settings.items():
                setattr(self, name, value)
        except BaseException:
            for name, value in before.items():
                setattr(self, name, value)
            raise
        self._steps = steps
        self._state.take(state)

    def scalars(self, steps: int) -> Array:
        """Return what the next ``steps`` steps take, in float64: a row each in the order of the registry's row.

        One row where all steps take the same.
        """
        raise NotImplementedError

    def _step_scalars(self, dtype: np.dtype[Any]) -> Array:
        """Return what the next step takes, for parameters of ``dtype``."""
        scalars: Array = self.scalars(1)[0].astype(dtype)
        return scalars

    def state_beside(self, parameter: Array) -> Array | None:
        """Return the state (vectors, parameters) beside the vector ``parameter``, or None if that is not one run."""
        flat = self._current()
        if self._beside[0] is not flat or self._beside[1] is not parameter:  # looked for once, for trainings are many
            if len(flat.runs) != 1 or flat.runs[0][0].ctypes.data != parameter.ctypes.data:
                return None
            self._beside = flat, parameter
        return self._state.beside(flat, self._in_order)[0][2]

    def advance(self, steps: int) -> None:
        """Note steps that were made with ``scalars`` on ``state_beside``."""
        self._steps += steps

    @holder
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter against its gradient.

        ``closure``, if given, is called first, to compute the gradients; its value is returned.
        """
        if closure is not None and not callable(closure):
            raise TypeError(
                f"{type(self).__name__}.step takes closure as a function or None, got {type(closure).__name__}"
            )
        loss = None if closure is None else closure()
        flat = self._current()
        runs = self._state.beside(flat, self._in_order)
        lock = flat.lock
        with lock:
            if type(lock) is ModelLock:
                lock.written = flat.spans[lock]
            for data, grad, state in runs:
                step_parameters(self.code, self._step_scalars(data.dtype), data, grad, state)
            self._steps += 1
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients of this optimiser's parameters to zero, whatever ``set_to_none``.

        Gradients are views of one vector: where PyTorch has None after ``zero_grad``, they are zero.
        """
        self._current().zero_grad()

    def _current(self) -> FlatView:
        if not self._flat.is_current:
            # In the order in which they lie: then a whole model is one run, in whatever order it came.
            storages = {storage: n for n, storage in enumerate(dict.fromkeys(p.storage for p in self.parameters))}
            self._in_order = sorted(self.parameters, key=lambda p: (storages[p.storage], p.offset))
            self._flat = FlatView(self._in_order)
        return self._flat

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)}" for name in self.settings)
        return f"{type(self).__name__}({len(self.parameters)} parameters, {settings})"

    @classmethod
    def _one_group(cls) -> str:
        name = cls.row
        return (
            f"{name} has one group of parameters; build it over all of them: "
            f"{name}([*model.parameters(), *other.parameters()], lr), or an {name} for each lr"
        )

    @classmethod
    def _listed(cls, params: Iterable[Any]) -> list[Any]:
        if isinstance(params, Parameter) or not isinstance(params, Iterable):
            raise TypeError(
                f"{cls.__name__} takes an iterable of parameters, got {type(params).__name__}; pass model.parameters()"
            )
        return list(params)

    @classmethod
    def _read_group(cls, groups: list[Any], settings: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return parameters and settings of the only entry of ``groups``, in PyTorch's form."""
        if len(groups) > 1:
            raise NotImplementedError(cls._one_group())
        options = dict(groups[0])
        if "params" not in options:
            raise ValueError(f"{cls.__name__} takes a group with 'params', got {', '.join(map(repr, options))}")
        params = options.pop("params")
        own = {name: options.pop(name, value) for name, value in settings.items()}
        refuse_unsupported(cls, options)
        return [params] if isinstance(params, Parameter) else cls._listed(params), own

    @classmethod
    def _require_parameters(cls, given: list[Any]) -> None:
        name = cls.__name__
        if not given:
            raise ValueError(
                f"{name} takes one parameter or more, got none; a generator such as parameters() serves once"
            )
        for parameter in given:
            if not isinstance(parameter, Parameter):
                raise TypeError(
                    f"{name} takes fastbp.nn.Parameter, got {type(parameter).__name__}; pass model.parameters()"
                )
            if not parameter.registered:
                raise ValueError(
                    f"{name} takes parameters of a module, got one of shape {parameter.shape} that is in none; "
                    "set it as an attribute of a Module first"
                )

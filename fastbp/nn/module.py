"""The base class of all modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from fastbp.nn.last_forward import LastForward
from fastbp.nn.module_tree import ModuleTree
from fastbp.nn.parameter import FlatView, Parameter, convert
from fastbp.nn.state_dict import IncompatibleKeys, checked_values
from fastbp.runtime.buffers import Buffer
from fastbp.runtime.interrupts import Interrupts
from fastbp.runtime.model_lock import ModelLocks, Unchanged, holder
from fastbp.validation.arrays import Array, require_dtype
from fastbp.validation.names import require_name
from fastbp.validation.read_only import tell_read_only
from fastbp.validation.user_methods import follow, is_of_the_library, passes_by

M = TypeVar("M", bound="Module")
P = ParamSpec("P")
R = TypeVar("R")


# What may be done without the methods behind it, and is not where the user redefined one of these.
_SHORTCUTS = {"predict": ("forward", "__call__"), "backward_parameters": ("backward",)}


def locked(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Make a method of a module raise RuntimeError while another thread is in the module."""

    @wraps(method)
    @holder
    def call(self: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        lock = self._current().lock
        taken = lock.acquire()
        try:
            return method(self, *args, **kwargs)
        finally:
            taken.release()

    return call


class Module(ModuleTree):
    """A part of a network, as in PyTorch, with its backward pass written out.

    Subclasses define ``forward(input)`` and ``backward(grad_output)``. A module of the library remembers one forward:
    who needs a layer at two places of a pass makes two. Attributes that are a ``Parameter`` or a ``Module`` are found
    by ``named_parameters`` in the order in which they were set.

    A subclass that redefines ``forward`` or ``backward`` is trained, validated and predicted by it.

    Attributes
    ----------
    training : bool
        As ``train()`` and ``eval()`` set it: whether ``Dropout`` drops and ``BatchNorm1d`` takes mini-batches.
    """

    training = True

    _has_modes: ClassVar[bool] = False  # whether ``training`` makes a difference to this class
    _branch: Sequence[Module] | None = None  # what a residual block consists of
    _inner: Module | None = None  # the same as it runs
    _inner_token: int | None = None  # of its last output
    _operation: Any = None  # fastbp.nn.operation: what this is to the engine's plan, if it is a row of its own
    _passed_by: ClassVar[frozenset[str]] = frozenset()  # short cuts of a base that this class may not take

    # Of a module of the library.
    _last_forward: LastForward | None = None
    _flat: FlatView | None = None
    _plan: Any = None  # fastbp.engine.plan: how the engine runs this module, or why it does not
    _session: Any = None  # fastbp.engine.session: the engine's last training of this module, if it is small
    # Attributes that are found again and have no place in a copy.
    _derived: ClassVar[tuple[str, ...]] = ("_flat", "_plan", "_session", "_told")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        follow(cls, _SHORTCUTS, Module)
        if is_of_the_library(cls):
            tell_read_only(cls, "build another module")
        cls._passed_by = frozenset(name for name, methods in _SHORTCUTS.items() if passes_by(cls, name, methods))

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name)
        if isinstance(value, Parameter):
            value.registered = True
        elif isinstance(before, Parameter) and value is not None:
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter, got {type(value).__name__} in its place; write to its "
                f"numbers, {name}.data[...] = ..., or set another Parameter"
            )
        if isinstance(value, Module | Parameter):
            require_name(name, type(self).__name__)
        is_part = isinstance(value, Module | Parameter) or isinstance(before, Module | Parameter)
        is_mode = name == "training" and self._has_modes and value != self.training
        if is_part or is_mode or self._is_method(name):
            self.changed()
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self.changed()
        super().__delattr__(name)

    def _integers(self) -> tuple[int, ...]:
        """Return the integers that the row of its operation names."""
        return ()

    def _note_mini_batches(self, count: int) -> None:
        """Count mini-batches that the engine has trained."""

    def _is_method(self, name: str) -> bool:
        return callable(getattr(type(self), name, None))

    def __call__(self, input: Array) -> Array:
        return self.forward(input)

    def forward(self, input: Array) -> Array:
        """Return the output for ``input`` and keep what ``backward`` needs."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(input)")

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient with respect to the last forward's input.

        Gradients with respect to parameters are added to their ``grad``.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define backward(grad_output)")

    def backward_parameters(self, grad_output: Array, *, retain_graph: bool = False) -> None:
        """Add the gradients of the parameters as ``backward`` does, for a caller who needs no gradient of the input.

        This is what training needs of a network's first layer. ``retain_graph`` is handed on where it is asked for: a
        ``backward`` of the user's own may do without it.
        """
        options: dict[str, Any] = {"retain_graph": True} if retain_graph else {}
        self.backward(grad_output, **options)

    def predict(self, input: Array) -> Array:
        """Return the output for ``input`` as a new array, which is the caller's.

        Where it goes through a ``forward`` of the user's own, that finds all modules as ``eval()`` sets them, and no
        backward of an earlier forward can follow any more.
        """
        training = [vars(module) for module in self.modules() if module.training]
        try:
            for attributes in training:  # one by one: what was found of the modules stays, and is not used here
                attributes["training"] = False
            output = np.array(self(input))
        finally:
            with Interrupts() as interrupts, interrupts.held:
                for attributes in training:
                    attributes["training"] = True
        self._forget()
        return output

    def _forget(self) -> None:
        """Have no last forward, in whatever module."""
        for module in self.modules():
            if module._last_forward is not None:
                module._last_forward.forget()

    def _takes(self, shortcut: str) -> bool:
        """Whether a short cut of the library passes by no method of the user's."""
        return shortcut not in self._passed_by and vars(self).keys().isdisjoint(_SHORTCUTS[shortcut])

    def _parts(self) -> Iterator[Module]:
        """Yield the modules that a plan of this one consists of, in the order of their forwards."""
        yield self

    @property
    def _least_rows(self) -> int:
        """How many rows a mini-batch needs in training."""
        return 1

    @property
    def _activation(self) -> Any:
        """What this is to the engine's plan, if it is an activation: ``fastbp.nn.operation.ActivationCall`` or None."""
        return None

    def _leaves(self) -> Iterator[Module]:
        """Yield what stands for this module in the plan of one that holds it."""
        yield self

    def parameters(self) -> Iterator[Parameter]:
        """Return an iterator over each parameter once, in the order of ``named_parameters``."""
        return iter(self._current().parameters)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients of all parameters to None; with ``set_to_none=False`` to zeros, where they are not None."""
        self._current().zero_grad(set_to_none)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Set ``requires_grad`` of all parameters; return this module. False freezes them."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def train(self: M, mode: bool = True) -> M:
        """Set ``training`` of this module and all inside it; return this one."""
        if not isinstance(mode, bool | np.bool_):
            raise ValueError(f"{type(self).__name__}.train takes mode as True or False, got {mode!r}")
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self: M) -> M:
        """Set ``training`` to False, as ``train(False)``."""
        return self.train(False)

    def float(self: M) -> M:
        """Convert all parameters and gradients to float32, in place; return this module."""
        return self._convert(np.dtype(np.float32))

    def double(self: M) -> M:
        """Convert all parameters and gradients to float64, in place; return this module."""
        return self._convert(np.dtype(np.float64))

    def cpu(self: M) -> M:
        """Return this module: it is on the CPU."""
        return self

    def to(self: M, *device_and_dtype: Any, device: Any = None, dtype: npt.DTypeLike | None = None) -> M:
        """Convert to a dtype, as ``float`` and ``double`` do; a device may be named, and must be the CPU.

        Parameters
        ----------
        *device_and_dtype, device, dtype
            "cpu", ``numpy.float32`` or ``numpy.float64``, in the positions or by the names of PyTorch.
        """
        for value in device_and_dtype:
            if value is not None and (str(value) == "cpu" or not _is_dtype(value)):
                device = value
            elif value is not None:
                dtype = value
        if device is not None and str(device) != "cpu":
            raise ValueError(f"{type(self).__name__} computes on the CPU in float32 or float64, got .to({device!r})")
        return self if dtype is None else self._convert(require_dtype(dtype, f"{type(self).__name__}.to"))

    @holder
    def _convert(self: M, dtype: np.dtype[Any]) -> M:
        lock = self._current().lock
        with lock:
            convert(self.parameters(), dtype)
            for module in self.modules():
                module._follow_dtype()
                module._convert_buffers(dtype)
                module.changed()
        return self

    def _follow_dtype(self) -> None:
        """Note the parameters' dtype after they were converted, maybe by another module that shares them."""

    def _convert_buffers(self, dtype: np.dtype[Any]) -> None:
        """Convert what belongs to the state and is no parameter."""

    def _current(self) -> FlatView:
        """Return the parameters' flat vectors, with the lock that keeps a second thread out."""
        flat = self._flat
        if flat is None or not flat.is_current:
            before, modules = flat, list(self._modules_in_order())
            for module in modules:
                module._follow_dtype()
            flat = FlatView(self._parameters_in_order(), modules)
            if before is not None and not (before.runs or flat.runs):
                flat.lock = before.lock  # without parameters it is the lock of this view alone
            self._flat = flat
        return flat

    @holder
    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers (running statistics) under PyTorch's names: ``"0.weight"``."""
        lock = self._current().lock
        taken = lock.acquire()
        try:
            state = self._named_state().items()
            return {name: np.array(value.data if isinstance(value, Parameter) else value) for name, value in state}
        finally:
            taken.release()

    @holder
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy parameters and buffers from ``state_dict``.

        Parameters
        ----------
        state_dict : mapping of str to ndarray or torch.Tensor
            Values under the names and with the shapes of ``state_dict()``. They are cast to this module's dtype, as
            PyTorch does.
        strict : bool
            Whether the names must be the same; otherwise what is missing or unexpected is left alone.

        Returns
        -------
        IncompatibleKeys
            Lists ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        ValueError
            Names every missing, unexpected, wrongly shaped and non-numeric entry. Nothing is copied then.
        TypeError
            If ``state_dict`` is no mapping.
        """
        state = self._named_state()
        values, keys = checked_values(f"{type(self).__name__}.load_state_dict", state, state_dict, strict)
        lock = self._current().lock
        with lock:
            for name, value in values.items():
                own = state[name]
                (own.data if isinstance(own, Parameter) else own)[...] = value
        return keys

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in self._derived}
        for name, value in state.items():  # copy.copy comes here too: its result must not write into the same buffers
            if isinstance(value, Buffer | LastForward):
                state[name] = type(value)()
        lock = self._current().lock
        if isinstance(lock, ModelLocks):
            state["_whole"] = Unchanged(lock)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state.pop("_whole", None)
        vars(self).update(state)

    def extra_repr(self) -> str:
        """Return what stands between the parentheses of ``repr`` for a module without children."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        inside = "".join(f"\n  {child}" for child in children) + "\n" if children else self.extra_repr()
        return f"{type(self).__name__}({inside})"


def _is_dtype(value: Any) -> bool:
    try:
        np.dtype(value)
    except TypeError:
        return False
    return True

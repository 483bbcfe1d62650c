"""The base class of all modules."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

import numpy as np

from fastbp.autograd.recording import no_grad
from fastbp.nn import own_backward
from fastbp.nn.conversions import Conversions
from fastbp.nn.forward_node import LastPass
from fastbp.nn.parameter import FlatView, Parameter
from fastbp.nn.state_dict import IncompatibleKeys, checked_values
from fastbp.runtime.buffers import Buffer
from fastbp.runtime.interrupts import Interrupts
from fastbp.runtime.model_lock import ModelLocks, Unchanged, writing
from fastbp.validation.arrays import Array
from fastbp.validation.names import require_name
from fastbp.validation.read_only import tell_read_only
from fastbp.validation.user_methods import defined, follow, is_of_the_library, passes_by

M = TypeVar("M", bound="Module")
P = ParamSpec("P")
R = TypeVar("R")


# What may be done without the methods behind it, and is not where the user redefined one of these.
_SHORTCUTS = {"predict": ("forward", "__call__")}


def locked(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Make a method of a module wait while another thread is in the module, or raise RuntimeError if that trains it."""

    @wraps(method)
    def call(self: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        lock = self._current().lock
        with lock:
            if lock.trainer:
                lock.require_free()
            return method(self, *args, **kwargs)

    return call


def _with_any_arguments(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method; to type checkers a subclass may define it with other arguments."""
    return method


class Module(Conversions):
    """A part of a network, as ``torch.nn.Module``.

    Subclasses define ``forward``, of any number of inputs and outputs, by calls of modules and functions of NumPy:
    what it computes is recorded, and ``loss.backward()`` goes back through it. Attributes that are a ``Parameter`` or a
    ``Module`` are found by ``named_parameters`` in the order in which they were set.

    A subclass may define ``backward(grad_output)`` too, which returns the gradient of each input and adds to those of
    parameters. It is called then instead, for the last call of the module.

    Attributes
    ----------
    training : bool
        As ``train()`` and ``eval()`` set it: whether ``Dropout`` drops and ``BatchNorm1d`` takes mini-batches.
    """

    training = True

    _has_modes: ClassVar[bool] = False  # whether ``training`` makes a difference to this class
    _branch: Sequence[Module] | None = None  # what a residual block consists of
    _inner: Module | None = None  # the same as it runs
    _operation: Any = None  # fastbp.nn.operation: what this is to the engine's plan, if it is a row of its own
    _passed_by: ClassVar[frozenset[str]] = frozenset()  # short cuts of a base that this class may not take

    _own: ClassVar[str] = ""  # what the class defines itself: "backward", "forward" without it, or nothing
    _last_pass: LastPass | None = None
    _flat: FlatView | None = None
    _plan: Any = None  # fastbp.engine.plan: how the engine runs this module, or why it does not
    _session: Any = None  # fastbp.engine.session: the engine's last training of this module, if it is small
    # Attributes that are found again and have no place in a copy.
    _derived: ClassVar[tuple[str, ...]] = ("_flat", "_plan", "_session", "_told", "_last_pass", "_calls")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        follow(cls, _SHORTCUTS, Module)
        if is_of_the_library(cls):
            tell_read_only(cls, "build another module")
        if not is_of_the_library(cls):
            _refuse_backward_parameters(cls.__name__, vars(cls))
            own = [name for name in ("backward", "forward") if not is_of_the_library(defined(cls, name)[1])]
            cls._own = own[0] if own else ""
        cls._passed_by = frozenset(name for name, methods in _SHORTCUTS.items() if passes_by(cls, name, methods))

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name)
        if isinstance(before, Parameter) and value is not None and not isinstance(value, Parameter):
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter, got {type(value).__name__} in its place; write to its "
                f"numbers, {name}.data[...] = ..., or set another Parameter"
            )
        if isinstance(value, Module | Parameter):
            require_name(name, type(self).__name__)
        is_part = isinstance(value, Module | Parameter) or isinstance(before, Module | Parameter)
        is_mode = name == "training" and self._has_modes and value != self.training
        _refuse_backward_parameters(type(self).__name__, (name,))
        if is_part or is_mode or self._is_method(name):
            self.changed()
            if name in ("forward", "backward"):
                vars(self)["_own"] = "backward" if name == "backward" else self._own or name
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self.changed()
        super().__delattr__(name)
        if name in ("forward", "backward"):
            vars(self).pop("_own", None)

    def _integers(self) -> tuple[int, ...]:
        """Return the integers that the row of its operation names."""
        return ()

    def _note_mini_batches(self, count: int) -> None:
        """Count mini-batches that the engine has trained."""

    def _is_method(self, name: str) -> bool:
        return callable(getattr(type(self), name, None))

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        own, backward = self._own, type(self).backward
        if not own and backward is _BACKWARD:
            return self.forward(*inputs, **options)
        if own == "backward" or not is_of_the_library(backward):  # also one that was set on the library's class
            return own_backward.call(self, inputs, options)
        output = self.forward(*inputs, **options)
        root = getattr(output, "_node", None)
        entry = getattr(inputs[0], "_node", None) if inputs else None
        vars(self)["_last_pass"] = None if root is None else LastPass(root, entry)
        return output

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Return the output for the inputs."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(input)")

    @_with_any_arguments
    def backward(self, grad_output: Array, *, retain_graph: bool = False) -> Any:
        """Go back through this module's last forward.

        ``loss.backward()`` does so for all modules of a pass. This is for a loss whose gradient is made by hand, and
        for a ``backward`` that calls those of the modules inside.

        Parameters
        ----------
        grad_output : ndarray of the last output's shape and dtype
            The gradient with respect to the last output. One that a loss or another module made for another output is
            refused.
        retain_graph : bool
            Whether another backward may follow through the same forward.

        Returns
        -------
        grad_input : ndarray of the last input's shape
            The caller's. None from a class with a ``forward`` of its own whose input was no tensor with a gradient.
            Gradients with respect to parameters are added to their ``grad``.
        """
        return self._require_pass().backward(type(self).__name__, grad_output, True, retain_graph)

    def backward_parameters(self, grad_output: Array, *, retain_graph: bool = False) -> None:
        """Do as ``backward``, for a caller who needs no gradient of the input."""
        if "backward" in vars(self) or self._own == "backward":
            self.backward(grad_output, **({"retain_graph": True} if retain_graph else {}))
            return
        self._require_pass().backward(type(self).__name__, grad_output, False, retain_graph)

    def _require_pass(self) -> LastPass:
        """Return the last forward, or raise RuntimeError if there is none to go back through."""
        if self._last_pass is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a forward before it: call the module on an input first, and not "
                "under fastbp.no_grad()"
            )
        return self._last_pass

    def predict(self, *inputs: Any) -> Any:
        """Return the output as a new array, which is the caller's, or for several outputs a tuple of them.

        Where it goes through a ``forward`` of the user's own, that finds all modules as ``eval()`` sets them, and is
        not recorded.
        """
        training = [vars(module) for module in self.modules() if module.training]
        try:
            for attributes in training:  # one by one: what was found of the modules stays, and is not used here
                attributes["training"] = False
            with no_grad():
                output = self(*inputs)
        finally:
            with Interrupts() as interrupts, interrupts.held:
                for attributes in training:
                    attributes["training"] = True
        if isinstance(output, tuple | list):
            return tuple(np.array(each, subok=False) for each in output)
        return np.array(output, subok=False)

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

    def _current(self) -> FlatView:
        """Return the parameters' flat vectors, with the lock that keeps a second thread out."""
        flat = self._flat
        if flat is None or not flat.is_current:
            before, modules, names = flat, dict[Module, None](), dict[Parameter, str]()
            self._walk("", modules, names)
            for module in modules:
                module._follow_dtype()
            flat = FlatView(names, modules)
            flat.inner, flat.names = tuple(modules)[1:], names
            if before is not None and not (before.runs or flat.runs):
                flat.lock = before.lock  # without parameters it is the lock of this view alone
            vars(self)["_flat"] = flat  # which changes no part
        return flat

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers (running statistics) under PyTorch's names: ``"0.weight"``."""
        lock = self._current().lock
        with lock:
            lock.require_free()
            state = self._named_state().items()
            return {name: np.array(value.data if isinstance(value, Parameter) else value) for name, value in state}

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
        with writing(self._current().lock):
            for name, value in values.items():
                own = state[name]
                if isinstance(own, Parameter):
                    own.data = value
                else:
                    own[...] = value
        return keys

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in self._derived}
        for name, value in state.items():  # copy.copy comes here too: its result must not write into the same buffers
            if isinstance(value, Buffer):
                state[name] = Buffer()
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


_BACKWARD = Module.backward


def _refuse_backward_parameters(owner: str, names: Collection[str]) -> None:
    """Raise TypeError where a user defines what nothing would call."""
    if "backward_parameters" in names:
        raise TypeError(
            f"{owner}.backward_parameters would be called by nothing: loss.backward() and trainings go by backward "
            "alone; define that, or a forward that is recorded"
        )

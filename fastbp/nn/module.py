"""The base class of all modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, ClassVar, Concatenate, NoReturn, ParamSpec, TypeVar

import numpy as np

from fastbp.arrays import Array, Buffer, plain, require_floats
from fastbp.nn.parameter import FlatView, Parameter, Storage

M = TypeVar("M", bound="Module")
P = ParamSpec("P")
R = TypeVar("R")


def guarded(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Make a method of a module raise RuntimeError while another thread is in the module."""

    @wraps(method)
    def call(self: M, /, *args: P.args, **kwargs: P.kwargs) -> R:
        guard = self._current().guard
        guard.acquire()
        try:
            return method(self, *args, **kwargs)
        finally:
            guard.release()

    return call


class LastForward:
    """What a module keeps of its last forward for its backward. Copies and pickles of it are empty.

    Attributes
    ----------
    given : ndarray or None
        The input; None before the first forward.
    output : ndarray
    handed_out : ndarray or None
        The view of the output that the caller got.
    """

    __slots__ = ("_shape", "given", "handed_out", "output")

    output: Array
    _shape: tuple[int, ...]  # of the input when it was given
    given: Array | None
    handed_out: Array | None

    def __init__(self) -> None:
        self.given = self.handed_out = None

    def keep(self, input: Array, output: Array) -> Array:
        """Note a forward, and return its output as the caller gets it.

        That is a view, since he may reshape it. Of the input a view would not do: ``numpy.ndarray.resize`` can take its
        memory away.
        """
        self.given, self._shape, self.output = input, input.shape, output
        self.handed_out = handed_out = output.view()
        return handed_out

    @property
    def input(self) -> Array:
        """The last input, as the kernels take it."""
        assert self.given is not None
        return plain(self.given)

    def checked(self, grad_output: Array, module: Module) -> Array:
        """Return ``grad_output`` as the kernels take it, after checking it against the last output."""
        given = self.given
        if given is None or given.shape != self._shape or given.dtype != self.output.dtype:
            self._refuse(module)
        output = self.output
        if type(grad_output) is not np.ndarray or grad_output.dtype != output.dtype:
            require_floats(grad_output, f"{type(module).__name__}.backward", output.dtype)
        if grad_output.shape != output.shape:
            raise ValueError(
                f"{type(module).__name__}.backward takes a gradient of the last output's shape {output.shape}, "
                f"got {grad_output.shape}"
            )
        return plain(grad_output)

    def require_following(self, before: LastForward | None, module: Module) -> None:
        """Raise RuntimeError if ``checked`` would, or if this forward took another shape than ``before`` returned."""
        given = self.given
        if given is None or given.shape != self._shape or given.dtype != self.output.dtype:
            self._refuse(module)
        if before is not None and self._shape != before.output.shape:
            raise RuntimeError(
                f"Sequential.backward needs the last forward of each module to be its own; one before "
                f"{type(module).__name__} was called elsewhere since"
            )

    def _refuse(self, module: Module) -> NoReturn:
        name, given = type(module).__name__, self.given
        if given is None:
            raise RuntimeError(f"{name}.backward needs a forward before it: call the module on an input first")
        raise RuntimeError(
            f"{name}.backward needs the array of the last forward as it was, {self.output.dtype} of shape "
            f"{self._shape}, got {given.dtype} {given.shape} since; give forward a copy"
        )

    def __reduce__(self) -> tuple[type[LastForward], tuple[()]]:
        return LastForward, ()


_METHODS = frozenset({"forward", "backward", "backward_parameters", "predict"})


class Module:
    """A part of a network, as in PyTorch, with its backward pass written out.

    Subclasses define ``forward(input)`` and ``backward(grad_output)``. A module of the library remembers one forward:
    who needs a layer at two places of a pass makes two. Attributes that are a ``Parameter`` or a ``Module`` are found
    by ``named_parameters`` in the order in which they were set.
    """

    # Of a module of the library.
    _last_forward: LastForward | None = None
    _output: Buffer | None = None
    _grad_input: Buffer | None = None
    _flat: FlatView | None = None
    _derived: ClassVar[tuple[str, ...]] = ("_flat",)  # attributes that are found again and have no place in a copy

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            value.registered = True
        moves = isinstance(value, Parameter | Module) or isinstance(vars(self).get(name), Parameter | Module)
        if moves or name in _METHODS:
            Storage.layouts += 1
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        Storage.layouts += 1
        super().__delattr__(name)

    @property
    def _has_own_methods(self) -> bool:
        """Whether the user gave this very module another forward, backward or predict: what knows its class asks."""
        return not _METHODS.isdisjoint(vars(self))

    def __call__(self, input: Array) -> Array:
        return self.forward(input)

    def forward(self, input: Array) -> Array:
        """Return the output for ``input`` and keep what ``backward`` needs.

        The output may be an array that the module owns: the next ``forward`` overwrites it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define forward(input)")

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient with respect to the last forward's input.

        Gradients with respect to parameters are added to their ``grad``.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define backward(grad_output)")

    def backward_parameters(self, grad_output: Array) -> None:
        """Add the gradients of the parameters as ``backward`` does, for a caller who needs no gradient of the input.

        This is what training needs of a network's first layer.
        """
        self.backward(grad_output)

    def predict(self, input: Array) -> Array:
        """Return the output for ``input`` as a new array."""
        return np.array(self.forward(input))

    def _owns(self, array: Array) -> bool:
        """Whether ``array`` lies in a buffer of this module, which it writes in its next forward or backward."""
        output, grad_input = self._output, self._grad_input
        return (output is not None and output.owns(array)) or (grad_input is not None and grad_input.owns(array))

    def _is_overridden(self, forward: Callable[..., Any]) -> bool:
        """Whether this module's forward is another than ``forward``, of a subclass or set on the instance."""
        return getattr(self.forward, "__func__", None) is not forward

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules directly inside this one with their names."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all inside it, with their dotted names; one that is there twice comes twice."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(_joined(prefix, name))

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Yield each parameter once, with its dotted name, in PyTorch's order: own ones first, then the children's."""
        seen: set[int] = set()
        for name, parameter in self._all_named_parameters(prefix):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def _all_named_parameters(self, prefix: str) -> Iterator[tuple[str, Parameter]]:
        for path, module in self.named_modules(prefix):
            for name, value in vars(module).items():
                if isinstance(value, Parameter):
                    yield _joined(path, name), value

    def parameters(self) -> Iterator[Parameter]:
        """Yield each parameter once, in the order of ``named_parameters``."""
        for _, parameter in self.named_parameters():
            yield parameter

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to zero."""
        self._current().zero_grad()

    def _current(self) -> FlatView:
        """Return the parameters' flat vectors, with the guard that keeps a second thread out."""
        flat = self._flat
        if flat is None or not flat.is_current:
            before, flat = flat, FlatView(self.parameters())
            if before is not None and not (before.runs or flat.runs):
                flat.guard = before.guard  # a thread may be in this module while parameters move elsewhere
            self._flat = flat
        return flat

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of every parameter under PyTorch's name for it, such as ``"0.weight"``."""
        with self._current().guard:
            return {name: parameter.data.copy() for name, parameter in self._all_named_parameters("")}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy the parameters from ``state_dict``.

        Parameters
        ----------
        state_dict : mapping of str to ndarray or torch.Tensor
            Values under the names and with the shapes of ``state_dict()``. They are cast to this module's dtype, as
            PyTorch does.

        Raises
        ------
        ValueError
            Names every missing, unexpected, wrongly shaped and non-numeric entry. Nothing is copied then.
        TypeError
            If ``state_dict`` is no mapping.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"{type(self).__name__}.load_state_dict takes a mapping of names to arrays, "
                f"got {type(state_dict).__name__}"
            )
        own = dict(self._all_named_parameters(""))
        faults = [f"unexpected {name!r}" for name in state_dict if name not in own]
        values: dict[str, Array] = {}
        for name, parameter in own.items():
            if name not in state_dict:
                faults.append(f"missing {name!r} of shape {parameter.shape}")
                continue
            value = _to_numpy(state_dict[name])
            if value is None:
                faults.append(f"{name!r} is no array: {type(state_dict[name]).__name__}")
            elif value.dtype.kind != "f":
                faults.append(f"{name!r} has dtype {value.dtype}")
            elif value.shape != parameter.shape:
                faults.append(f"{name!r} has shape {value.shape} instead of {parameter.shape}")
            else:
                with np.errstate(all="ignore"):  # beyond float32 is infinity, as in PyTorch
                    values[name] = value.astype(parameter.dtype)  # a copy: it may be a view of another parameter
        if faults:
            raise ValueError(f"{type(self).__name__}.load_state_dict: {'; '.join(faults)}")
        with self._current().guard:
            for name, parameter in own.items():
                parameter.data = values[name]

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in self._derived}
        for name, value in state.items():  # copy.copy comes here too: its result must not write into the same buffers
            if isinstance(value, Buffer | LastForward):
                state[name] = type(value)()
        return state

    def extra_repr(self) -> str:
        """Return what stands between the parentheses of ``repr`` for a module without children."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        inside = "".join(f"\n  {child}" for child in children) + "\n" if children else self.extra_repr()
        return f"{type(self).__name__}({inside})"


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _to_numpy(value: Any) -> Array | None:
    """Return an array of a torch tensor's values, on whatever device and graph it is, or of anything array-like."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
        return np.asarray(value)
    except (TypeError, ValueError):
        return None

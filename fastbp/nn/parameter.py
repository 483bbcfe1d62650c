"""Parameters, and the flat vectors that they are views of.

A model keeps all its parameters in one aligned vector and all their gradients in another, so that an optimiser,
a checkpoint or a sum over processes is one pass over one array:

    Storage.data   | 0.weight      | 0.bias | 2.weight            | 2.bias |
    Storage.grad   | 0.weight.grad | ...

``flatten`` lays a model's parameters out like that; a ``FlatView`` finds the vectors again.

A parameter without a gradient, whose ``grad`` is None, has zeros in the gradient vector. So whoever computes gradients
adds to the vector, and says with ``note_grad`` which parameters are about to be reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np

from fastbp.autograd.node import Leaf, tick
from fastbp.nn.array_like import ArrayLike
from fastbp.nn.storage import Storage
from fastbp.runtime.derived import Derived, Source
from fastbp.runtime.model_lock import ModelLock, ModelLocks, holding, writing
from fastbp.validation.arrays import Array, require_dtype, require_floats
from fastbp.validation.read_only import tell_read_only


class Parameter(ArrayLike, Leaf):
    """A trainable array and its gradient: a leaf of the passes that it takes part in.

    NumPy's functions, operators and methods of a parameter are recorded like those of a ``fastbp.Tensor``.

    Parameters
    ----------
    data : ndarray of float32 or float64
        Initial values, copied.
    requires_grad : bool
        Whether it is trained: see ``requires_grad``.

    Attributes
    ----------
    data : ndarray of the parameter's shape
        View of the flat vector of the model that the parameter belongs to, a new one at each access. Building a
        ``Sequential`` moves the parameters of its modules into its own vectors: take the views afterwards.
    grad : ndarray of the parameter's shape, or None
        None at first and after ``zero_grad``, until a backward reaches the parameter; then a view like ``data``. May be
        set to an array, which is copied, or to None.
    kernel_data, kernel_grad : ndarray
        Data and gradient as the kernels take them: never handed out, so that nobody changes their shape or their flags.
    has_grad : bool
        Whether ``grad`` is not None. Where it is False, ``kernel_grad`` is all zeros.
    """

    __slots__ = (
        "_requires_grad", "_shape", "has_grad", "kernel_data", "kernel_grad", "offset", "storage",
    )  # fmt: skip

    # As properties, which say what to do instead where one is set.
    name = property(lambda self: "a parameter")
    keeps_grad = property(lambda self: True)
    wanted = property(lambda self: True)
    leaves = property(lambda self: ())

    def __init__(self, data: Array, requires_grad: bool = True) -> None:
        values = require_floats(data, "Parameter")
        self._requires_grad = _require_flag(requires_grad)
        self._begin(values, Storage(values.size, values.dtype), 0)

    def _begin(self, values: Array, storage: Storage, offset: int) -> None:
        self._shape, self.has_grad = values.shape, False
        self.inputs, self.order = (), tick()
        self.move_to(storage, offset)
        self.kernel_data[...] = values

    def move_to(self, storage: Storage, offset: int) -> None:
        """Become a view of ``storage`` at ``offset``."""
        stop = offset + prod(self._shape)
        data, grad = (vector[offset:stop].reshape(self._shape) for vector in (storage.data, storage.grad))
        self.storage, self.offset, self.kernel_data, self.kernel_grad = storage, offset, data, grad  # all or none
        self.changed = tick()

    def autograd_leaf(self) -> Parameter | None:
        """Return what operations on the parameter are recorded as of: itself, or nothing where it is frozen."""
        return self if self._requires_grad else None

    @property
    def array(self) -> Array:  # type: ignore[override]
        """The memory that operations on the parameter read."""
        return self.kernel_data

    def accumulate(self, grad: Any) -> None:
        with self.storage.lock, np.errstate(all="ignore"):
            self.has_grad = True
            self.kernel_grad += grad

    @property
    def data(self) -> Array:
        return self.kernel_data.view()

    @data.setter
    def data(self, values: Array) -> None:
        self._check(values, "data")
        self.kernel_data[...] = values
        self.note_change()

    @property
    def grad(self) -> Array | None:
        return self.kernel_grad.view() if self.has_grad else None

    @grad.setter
    def grad(self, values: Array | None) -> None:
        if values is None:  # as PyTorch's users clear it
            self.zero_grad()
        else:
            self._check(values, "grad")
            self.has_grad = True  # before the numbers: where Ctrl-C cuts in, none of them is left unseen
            self.kernel_grad[...] = values

    def _check(self, values: Array, name: str) -> None:
        require_floats(values, f"Parameter.{name}", self.dtype)
        if values.shape != self.shape:
            raise ValueError(f"Parameter.{name} has shape {self.shape}, got {values.shape}")

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.kernel_data.dtype

    @property
    def size(self) -> int:
        return self.kernel_data.size

    @property
    def requires_grad(self) -> bool:
        """Whether the parameter is trained. A frozen one is not stepped, and backward adds nothing to its gradient."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        if _require_flag(requires_grad) != self._requires_grad:
            self._requires_grad = bool(requires_grad)
            self.storage.changed()  # what was planned for this model computes other gradients

    def requires_grad_(self, requires_grad: bool = True) -> Parameter:
        """Set ``requires_grad`` and return the parameter."""
        self.requires_grad = requires_grad
        return self

    def note_grad(self) -> None:
        """Have a gradient from now on, unless the parameter is frozen: for who is about to add to ``kernel_grad``."""
        if self._requires_grad:
            self.has_grad = True

    def add_grad(self, values: Array) -> None:
        """Add an array of the parameter's shape and dtype to ``grad``, where None is a zero; not to a frozen one's.

        That is what the ``backward`` of a class of one's own does.
        """
        self._check(values, "add_grad")
        if self._requires_grad:
            self.accumulate(values)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set ``grad`` to None; with ``set_to_none=False`` to zeros, where it is not None."""
        self.kernel_grad.fill(0)
        if set_to_none:
            self.has_grad = False

    def __repr__(self) -> str:
        return f"Parameter({self.kernel_data!r})"

    def __getstate__(self) -> tuple[Any, ...]:
        return self.storage, self.offset, self.shape, True, self._requires_grad  # True as of before

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        storage, offset, self._shape, _, *rest = state
        self.inputs, self.order = (), tick()
        self._requires_grad = rest[0] if rest else True  # some pickles have no flags, or only this one
        self.move_to(storage, offset)
        self.has_grad = False


for _kind in (ArrayLike, Parameter):
    tell_read_only(_kind, "write to its numbers, convert the model, or set another Parameter on the module")


def _require_flag(requires_grad: Any) -> bool:
    if not isinstance(requires_grad, bool | np.bool_):
        raise TypeError(f"Parameter takes requires_grad as True or False, got {requires_grad!r}")
    return bool(requires_grad)


def laid_out(*values: Array | None) -> list[Any]:
    """Return parameters of these initial values of one dtype, one behind the other in one storage; None stays None."""
    arrays = [array for array in values if array is not None]
    storage = Storage(sum(array.size for array in arrays), arrays[0].dtype) if arrays else None
    made = []
    offset = 0
    for array in values:
        parameter = None
        if array is not None and storage is not None:
            parameter = Parameter.__new__(Parameter)
            parameter._requires_grad = True
            parameter._begin(array, storage, offset)
            offset += array.size
        made.append(parameter)
    return made


def in_order_of_memory(parameters: Iterable[Parameter]) -> list[Parameter]:
    """Return parameters, each once, in the order in which they lie: then a whole model is one run, whatever its order.

    Storages come in the order of their first parameters.
    """
    unique = list(dict.fromkeys(parameters))
    storages = {storage: n for n, storage in enumerate(dict.fromkeys(p.storage for p in unique))}
    return sorted(unique, key=lambda parameter: (storages[parameter.storage], parameter.offset))


def flatten(parameters: Iterable[Parameter]) -> None:
    """Lay ``parameters`` out one behind the other in one new storage, values and gradients kept.

    Parameters that already lie so are left where they are. All must have one dtype.
    """
    unique = list(dict.fromkeys(parameters))
    if len(_runs_of(unique)) > 1:
        convert(unique, unique[0].dtype)


def convert(parameters: Iterable[Parameter], dtype: np.dtype[Any]) -> None:
    """Lay ``parameters`` out one behind the other in one new storage of ``dtype``, values and gradients kept."""
    unique = list(dict.fromkeys(parameters))
    storage = Storage(sum(parameter.size for parameter in unique), require_dtype(dtype, "A model"))
    offset = 0
    lock = _lock_of(parameter.storage for parameter in unique)
    with writing(lock), np.errstate(over="ignore"):  # beyond float32 is infinity, as in PyTorch
        for parameter in unique:
            data, grad = parameter.kernel_data, parameter.kernel_grad
            parameter.storage.changed()
            stop = offset + data.size
            storage.data[offset:stop], storage.grad[offset:stop] = data.ravel(), grad.ravel()
            parameter.move_to(storage, offset)
            offset = stop


def note_changes(parameters: Iterable[Parameter]) -> None:
    """Note that the values of ``parameters`` have changed."""
    now = tick()
    for parameter in parameters:
        parameter.changed = now


def with_gradient(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """Return those of ``parameters`` that have a gradient: the same tuple, if all have one."""
    reached = [parameter for parameter in parameters if parameter.has_grad]
    return parameters if len(reached) == len(parameters) else tuple(reached)


def _runs_of(parameters: Iterable[Parameter]) -> list[tuple[Storage, int, int]]:
    """Return where parameters lie, as the fewest runs: a storage, the first and the last + 1."""
    runs: list[tuple[Storage, int, int]] = []
    for parameter in parameters:
        start = parameter.offset
        stop = start + parameter.kernel_data.size
        if runs and runs[-1][0] is parameter.storage and runs[-1][2] == start:
            start = runs.pop()[1]
        runs.append((parameter.storage, start, stop))
    return runs


def _lock_of(storages: Iterable[Storage]) -> ModelLock | ModelLocks:
    """Return the lock of all these storages; one of its own for none."""
    locks = [storage.lock for storage in dict.fromkeys(storages)] or [ModelLock()]
    return locks[0] if len(locks) == 1 else ModelLocks(locks)


class FlatView(Derived):
    """Some parameters as the fewest pairs of vectors, while ``is_current``. Copies and pickles of it are empty.

    Parameters
    ----------
    parameters : iterable of Parameter or None
        None is for one that is not current.
    modules : iterable of Module
        In which they were found.

    Attributes
    ----------
    runs : list of (data, grad)
        In the parameters' order, each a view of one storage.
    parameters, trained : tuple of Parameter
        All of them, each once, and those that are not frozen.
    inner : tuple of Module
        Of the view of a whole module: those inside it, each once, and not itself, whose view this is.
    names : mapping of Parameter to str
        Likewise: the parameters' names, dotted.
    lock : ModelLock or ModelLocks
        Of the storages; one of its own if there are none, so that modules without parameters are locked too.
    """

    inner: tuple[Any, ...]
    names: Mapping[Parameter, str]

    __slots__ = ("inner", "lock", "names", "parameters", "runs", "trained")

    def __init__(self, parameters: Iterable[Parameter] | None = None, modules: Iterable[Source] = ()) -> None:
        self.inner, self.names = (), {}
        self.parameters = tuple(dict.fromkeys(parameters or ()))
        self.trained = tuple([parameter for parameter in self.parameters if parameter._requires_grad])
        runs = _runs_of(self.parameters)
        storages = dict.fromkeys(storage for storage, _, _ in runs)
        self.lock = _lock_of(storages)
        self.runs = [(storage.data[start:stop], storage.grad[start:stop]) for storage, start, stop in runs]
        super().__init__([*storages, *modules])
        self.is_current = parameters is not None

    def note_change(self) -> None:
        """Note that the parameters' values have changed."""
        note_changes(self.parameters)

    def note_grads(self) -> None:
        """Have gradients from now on, for all parameters that are not frozen: before kernels add to the vectors."""
        for parameter in self.trained:
            parameter.has_grad = True

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set all gradients to None; with ``set_to_none=False`` to zeros, where they are not None."""
        holding(self.lock, self._zero_grad, set_to_none)

    def _zero_grad(self, set_to_none: bool) -> None:
        for _, grad in self.runs:
            grad.fill(0)
        if set_to_none:
            for parameter in self.parameters:
                parameter.has_grad = False

    def __reduce__(self) -> tuple[type[FlatView], tuple[()]]:
        return FlatView, ()

"""What a module consists of: the modules inside it, their parameters and buffers, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeGuard, TypeVar, cast
from weakref import ref

import numpy as np

from fastbp.nn.outline import html_of
from fastbp.nn.parameter import Parameter
from fastbp.runtime.derived import Derived, Source
from fastbp.validation.arrays import Array
from fastbp.validation.foreign import require_array
from fastbp.validation.names import require_name

if TYPE_CHECKING:
    from fastbp.nn.module import Module

T = TypeVar("T", bound="ModuleTree")


class ModuleTree(Source):
    """What every ``Module`` is, as seen from outside of its computations."""

    _buffer_names: tuple[str, ...] = ()  # of arrays that belong to the state and are not trained

    @property
    def _derived_from_this(self) -> list[ref[Derived]]:
        told: list[ref[Derived]] = vars(self).setdefault("_told", [])
        return told

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules directly inside this one with their names."""
        if any(map(_is_module, vars(self).values())):  # most have none
            for name, value in vars(self).items():
                if isinstance(value, ModuleTree):
                    yield name, cast("Module", value)

    def children(self) -> Iterator[Module]:
        """Yield the modules directly inside this one."""
        for _, child in self.named_children():
            yield child

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all inside it, with their dotted names; one that is there twice comes twice."""
        yield prefix, cast("Module", self)
        for name, child in self.named_children():
            yield from child.named_modules(_joined(prefix, name))

    def modules(self) -> Iterator[Module]:
        """Yield this module and all inside it, each once."""
        yield from dict.fromkeys(self._modules_in_order())

    def _walk(self, path: str, modules: dict[Module, None], named: dict[Parameter, str]) -> None:
        """Add what ``modules`` and ``named_parameters`` yield, found on one way: models are walked often."""
        modules[cast("Module", self)] = None
        children = []
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                named.setdefault(value, _joined(path, name))
            elif isinstance(value, ModuleTree):
                children.append((name, value))
        if type(self).named_children is not _NAMED_CHILDREN:
            children = [*self.named_children()]
        for name, child in children:
            child._walk(_joined(path, name), modules, named)

    def _modules_in_order(self) -> Iterator[Module]:
        """Yield what ``named_modules`` yields, without the names: models of many layers are walked often."""
        yield cast("Module", self)
        for _, child in self.named_children():
            yield from child._modules_in_order()

    def apply(self: T, function: Callable[[Module], object]) -> T:
        """Call ``function`` on every module inside this one and then on this one, as PyTorch does; return this one."""
        for child in self.children():
            child.apply(function)
        function(cast("Module", self))
        return self

    def named_parameters(self, prefix: str = "", *, remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Yield each parameter with its dotted name, in PyTorch's order: own ones first, then the children's.

        One that has several names comes once, under the first, or with ``remove_duplicate=False`` under each.
        """
        seen: set[int] = set()
        for path, module in self.named_modules(prefix):
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and not (remove_duplicate and id(value) in seen):
                    seen.add(id(value))
                    yield _joined(path, name), value

    def _parameters_in_order(self) -> Iterator[Parameter]:
        """Yield each parameter once, in the order of ``named_parameters``."""
        seen: set[int] = set()
        for module in self._modules_in_order():
            for parameter in filter(_is_parameter, vars(module).values()):
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield parameter

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Array]]:
        """Yield each array that belongs to the state and is not trained, such as running statistics, with its name."""
        for path, module in self.named_modules(prefix):
            for name in module._buffer_names:
                if getattr(module, name) is not None:
                    yield _joined(path, name), getattr(module, name)

    def register_buffer(self, name: str, array: Array | None, persistent: bool = True) -> None:
        """Set an array that belongs to the state and is not trained, as an attribute.

        Parameters
        ----------
        name : str
        array : ndarray or None
            Read anew at each use: it may be written to, and another may be set. None has no place in the state.
        persistent : True
            What is not to be in ``state_dict()`` is a plain attribute.
        """
        owner = type(self).__name__
        require_name(name, owner)
        if not persistent:
            raise ValueError(
                f"{owner}.register_buffer takes persistent=True, got {persistent!r}; set a plain attribute, self.{name}"
            )
        if hasattr(self, name) and name not in self._buffer_names:
            raise KeyError(f"{owner} has an attribute {name!r} already and takes no buffer under that name")
        if array is not None:
            array = np.array(require_array(array, f"{owner}.register_buffer"), subok=False, copy=None)
        vars(self)["_buffer_names"] = tuple(dict.fromkeys((*self._buffer_names, name)))
        setattr(self, name, array)

    def buffers(self) -> Iterator[Array]:
        """Yield each array that ``named_buffers`` yields, once."""
        yield from {id(array): array for _, array in self.named_buffers()}.values()

    def _repr_html_(self) -> str:
        """Return the table of the modules, which a notebook shows."""
        return html_of(cast("Module", self))

    def _named_state(self) -> dict[str, Parameter | Array]:
        """Return parameters and buffers by name, in PyTorch's order: those of each module together."""
        state: dict[str, Parameter | Array] = {}
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Parameter):
                    state[_joined(path, name)] = value
            for name in module._buffer_names:
                if getattr(module, name) is not None:
                    state[_joined(path, name)] = getattr(module, name)
        return state


_NAMED_CHILDREN = ModuleTree.named_children

# As isinstance, for map and filter: models are walked often.
_is_module: Callable[[object], bool] = ModuleTree.__instancecheck__
_is_parameter = cast("Callable[[object], TypeGuard[Parameter]]", Parameter.__instancecheck__)


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name

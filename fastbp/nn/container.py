"""Modules of modules: what holds others under names, in an order or not."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from types import MappingProxyType
from typing import Any, TypeVar, overload

from fastbp.nn.module import Module
from fastbp.validation.names import require_name

C = TypeVar("C", bound="OrderedContainer")


class Container(Module):
    """Modules that are found by their name, and as attributes.

    A module that is set as an attribute comes behind the others under that name, as in PyTorch.
    """

    _parts_by_name: dict[str, Module]

    @property
    def _modules(self) -> Mapping[str, Module]:
        """PyTorch's name for the modules, to be read: the container has to know of a change."""
        return MappingProxyType(self._parts_by_name)

    def _check(self, modules: dict[str, Module]) -> None:
        """Raise TypeError or ValueError where these modules cannot be held together."""
        for name, module in modules.items():
            require_name(name, type(self).__name__)
            if not isinstance(module, Module):
                raise TypeError(f"{type(self).__name__} takes modules, got {type(module).__name__} at position {name}")

    def _hold(self, modules: dict[str, Module]) -> None:
        """Hold ``modules`` instead of what was held, after checking them."""
        self._check(modules)
        self.changed()
        vars(self)["_parts_by_name"] = modules

    def _numbered(self, modules: Iterable[Module]) -> dict[str, Module]:
        return {str(place): module for place, module in enumerate(modules)}

    def named_children(self) -> Iterator[tuple[str, Module]]:
        yield from self._parts_by_name.items()

    def __len__(self) -> int:
        return len(self._parts_by_name)

    def __setattr__(self, name: str, value: Any) -> None:
        modules = vars(self).get("_parts_by_name", {})
        if isinstance(value, Module):
            if "_parts_by_name" not in vars(self):
                raise AttributeError(f"{type(self).__name__}.{name}: call super().__init__() before setting modules")
            if hasattr(type(self), name):
                raise AttributeError(f"{type(self).__name__} has {name!r} already and takes no module under that name")
            self._hold({**modules, name: value})
            vars(self).pop(name, None)
        elif name in modules:
            raise TypeError(f"{type(self).__name__}.{name} is a module, got {type(value).__name__}; delete it first")
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        try:
            return vars(self)["_parts_by_name"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    def __delattr__(self, name: str) -> None:
        if name in vars(self).get("_parts_by_name", {}):
            self._hold({other: module for other, module in self._parts_by_name.items() if other != name})
        else:
            super().__delattr__(name)


class OrderedContainer(Container):
    """Modules that have places, which their names may be as well."""

    def append(self: C, module: Module) -> C:
        """Add a module behind the others; return this one."""
        return self.extend([module])

    def extend(self: C, modules: Iterable[Module]) -> C:
        """Add modules behind the others; return this one."""
        added = {str(place): module for place, module in enumerate(modules, len(self))}
        taken = [name for name in added if name in self._parts_by_name]
        if taken:
            raise ValueError(f"{type(self).__name__} has modules named {', '.join(taken)} already; set others by name")
        self._hold({**self._parts_by_name, **added})
        return self

    def insert(self, index: int, module: Module) -> None:
        """Put a module before the one at ``index``; all are numbered anew."""
        modules = list(self)
        modules.insert(index, module)
        self._hold(self._numbered(modules))

    def __iter__(self) -> Iterator[Module]:
        return iter(self._parts_by_name.values())

    def __contains__(self, module: object) -> bool:
        return any(module is own for own in self)

    @overload
    def __getitem__(self: C, index: int) -> Module: ...
    @overload
    def __getitem__(self: C, index: slice) -> C: ...
    def __getitem__(self: C, index: int | slice) -> Module | C:
        names = self._names_at(index)
        return self._part(names) if isinstance(index, slice) else self._parts_by_name[names[0]]

    def _part(self: C, names: list[str]) -> C:
        raise NotImplementedError

    def __setitem__(self, index: int, module: Module) -> None:
        (name,) = self._names_at(index)
        self._hold({**self._parts_by_name, name: module})

    def __delitem__(self, index: int | slice) -> None:
        """Give up one or more modules; the others are numbered anew."""
        names = self._names_at(index)
        self._hold(self._numbered(module for name, module in self._parts_by_name.items() if name not in names))

    def _names_at(self, index: int | slice) -> list[str]:
        names = list(self._parts_by_name)
        try:
            return names[index] if isinstance(index, slice) else [names[index]]
        except (IndexError, TypeError) as error:
            raise type(error)(
                f"{type(self).__name__} of {len(self)} modules takes an index or a slice, got {index!r}"
            ) from None


class ModuleList(OrderedContainer):
    """Modules in a list whose parameters are found, as ``torch.nn.ModuleList``: for modules of your own.

    Parameters
    ----------
    modules : iterable of Module
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._hold(self._numbered(modules))

    @classmethod
    def named(cls, modules: dict[str, Module]) -> ModuleList:
        """Return a list of modules that have names."""
        made = cls()
        made._hold(modules)
        return made

    def _part(self, names: list[str]) -> ModuleList:
        return type(self)(self._parts_by_name[name] for name in names)


class ModuleDict(Container):
    """Modules by name whose parameters are found, as ``torch.nn.ModuleDict``: for modules of your own.

    Parameters
    ----------
    modules : mapping of str to Module, or iterable of pairs
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        self._hold(dict(modules))

    def __getitem__(self, name: str) -> Module:
        return self._parts_by_name[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self._hold({**self._parts_by_name, name: module})

    def __delitem__(self, name: str) -> None:
        self.pop(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts_by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._parts_by_name

    def keys(self) -> KeysView[str]:
        return self._parts_by_name.keys()

    def values(self) -> ValuesView[Module]:
        return self._parts_by_name.values()

    def items(self) -> ItemsView[str, Module]:
        return self._parts_by_name.items()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add modules, in place of those that have their names."""
        self._hold({**self._parts_by_name, **dict(modules)})

    def pop(self, name: str) -> Module:
        """Give up a module and return it."""
        module = self._parts_by_name[name]
        self._hold({other: part for other, part in self._parts_by_name.items() if other != name})
        return module

    def clear(self) -> None:
        """Give up all modules."""
        self._hold({})

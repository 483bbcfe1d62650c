"""What a user defined is what runs: which methods of an object are not the library's.

The library takes short cuts: a model predicts without its ``forward``, the engine trains without any method at all. A
short cut is right only for the library's own methods. So where a class redefines a method, those that would pass it by
are replaced when the class is made; and the engine takes objects with no method of the user's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary


def follow(cls: type, shortcuts: Mapping[str, tuple[str, ...]], base: type) -> None:
    """Give ``cls`` the short cuts of ``base`` anew, which go through other methods, where it redefines one of these.

    Parameters
    ----------
    cls : type
        A class that is being made.
    shortcuts : mapping of str to tuple of str
        A short cut's name, and the methods that it may pass by.
    base : type
        Where each short cut is defined as calls of these methods.
    """
    for shortcut, passed_by in shortcuts.items():
        if min(_place(cls, name) for name in passed_by) < _place(cls, shortcut):
            setattr(cls, shortcut, vars(base)[shortcut])


def own_methods(obj: Any) -> list[str]:
    """Return the names of ``obj``'s methods that are the user's: of a subclass, set on the object or on the class."""
    known = _known(type(obj))
    here = known.methods.intersection(vars(obj))
    return sorted(here | known.own) if here or known.own else []


class _Known(NamedTuple):
    """What was found about a class.

    Attributes
    ----------
    attributes : list of tuple
        Of the class and its bases, then.
    own : frozenset of str
        Names of methods that are the user's.
    methods : frozenset of str
        Names of all.
    """

    attributes: list[tuple[Any, ...]]
    own: frozenset[str]
    methods: frozenset[str]


_found: WeakKeyDictionary[type, _Known] = WeakKeyDictionary()


def _known(cls: type) -> _Known:
    """Return what is known of a class; found anew when an attribute of it or of a base is another one."""
    attributes = [tuple(vars(base).values()) for base in cls.__mro__[:-1]]
    known = _found.get(cls)
    if known is None or known.attributes != attributes:
        methods = frozenset(name for name in dir(cls) if callable(getattr(cls, name, None)))
        known = _found[cls] = _Known(attributes, _find_own_methods(cls), methods)
    return known


def _find_own_methods(cls: type) -> frozenset[str]:
    names: set[str] = set()
    library = [base for base in cls.__mro__ if _is_of_the_library(base)]
    for base in cls.__mro__[:-1]:
        if base in library:
            names |= {name for name, value in vars(base).items() if callable(value) and not _is_of_the_library(value)}
        else:
            names |= {name for name in vars(base) if any(name in vars(known) for known in library)}
    special = {name for name in names if name.startswith("__") and name != "__call__"}
    return frozenset(names - special - {"extra_repr"})


def set_in_place_of_methods(obj: Any) -> list[str]:
    """Return the names of attributes of this very object that hide methods of its class."""
    return [name for name in vars(obj) if callable(getattr(type(obj), name, None))]


def _place(cls: type, name: str) -> int:
    """Return how far up in the order of ``cls``'s bases ``name`` is defined."""
    return next(place for place, base in enumerate(cls.__mro__) if name in vars(base))


def _is_of_the_library(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] in ("fastbp", "fastbp_kernels")

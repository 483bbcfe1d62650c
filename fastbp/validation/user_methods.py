"""What a user defined is what runs: which methods of an object are not the library's.

The library takes short cuts: a model predicts without its ``forward``, the engine trains without any method at all. A
short cut is right only for the library's own methods. So where a class redefines a method, those that would pass it by
are replaced when the class is made; and the engine takes objects with no method of the user's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, ValuesView
from itertools import chain
from operator import is_
from types import FunctionType
from typing import Any, NamedTuple


def follow(cls: type, shortcuts: Mapping[str, tuple[str, ...]], base: type) -> None:
    """Give ``cls`` the short cuts of ``base`` anew, which go through other methods, where it redefines one of these.

    A short cut that is the user's stays.

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
        if passes_by(cls, shortcut, passed_by) and is_of_the_library(defined(cls, shortcut)[1]):
            setattr(cls, shortcut, vars(base)[shortcut])


def passes_by(cls: type, shortcut: str, methods: tuple[str, ...]) -> bool:
    """Whether the library's ``shortcut``, called on an object of ``cls``, would pass by one that the user redefined.

    A class that redefines the short cut together with the method knows what it does.
    """
    place, of_shortcut = defined(cls, shortcut)
    for name in methods:
        other, of_method = defined(cls, name)
        if other < place or (other == place and is_of_the_library(of_shortcut) and not is_of_the_library(of_method)):
            return True
    return False


def own_methods(obj: Any) -> list[str]:
    """Return the names of ``obj``'s methods that are the user's.

    They are of a subclass or set on the object; or on the library's class, which an object that has been used no longer
    looks for.
    """
    known = _known(type(obj))
    if not known.own and known.methods.isdisjoint(vars(obj)):
        return []
    return sorted(known.methods.intersection(vars(obj)) | known.own)


def have_own_methods(objects: Iterable[Any]) -> bool:
    """Whether ``own_methods`` finds one of any of ``objects``; each class is looked at once."""
    of_class: dict[type, frozenset[str]] = {}
    for obj in objects:
        cls = type(obj)
        methods = of_class.get(cls)
        if methods is None:
            known = _known(cls)
            if known.own:
                return True
            methods = of_class[cls] = known.methods
        if not methods.isdisjoint(vars(obj)):
            return True
    return False


class LibraryMethods:
    """Objects with the methods of their classes, and whether these are the library's and still those of now.

    Attributes
    ----------
    are_all : bool
        Whether ``own_methods`` finds none of the user's.
    """

    def __init__(self, *objects: Any) -> None:
        classes = tuple(map(type, objects))
        known = [_known(cls) for cls in classes]
        self._names = [(obj, each.methods) for obj, each in zip(objects, known, strict=True)]
        self.are_all = not any(each.own for each in known) and self._hide_none()
        joined = _joined.get(classes)
        if joined is None or not all(map(is_, joined.known, known)):
            attributes = [values for each in known for values in each.attributes]
            joined = _joined[classes] = _Joined(known, attributes, [value for each in known for value in each.then])
        self._joined = joined

    def _hide_none(self) -> bool:
        return all(names.isdisjoint(vars(obj)) for obj, names in self._names)

    def still_hold(self) -> bool:
        """Whether each attribute of the classes is that of then, and no object hides a method of its class."""
        for obj, names in self._names:
            if not names.isdisjoint(vars(obj)):
                return False
        return _are_same(self._joined.attributes, self._joined.then)


class _Known(NamedTuple):
    """What was found about a class.

    Attributes
    ----------
    attributes : list of dict views
        For the class and each base its attributes as they are at any time.
    then : list
        All of them as they were then, one after the other.
    own : frozenset of str
        Names of methods that are the user's.
    methods : frozenset of str
        Names of all.
    """

    attributes: list[ValuesView[Any]]
    then: list[Any]
    own: frozenset[str]
    methods: frozenset[str]


class _Joined(NamedTuple):
    """What is known of several classes, one after the other."""

    known: list[_Known]
    attributes: list[ValuesView[Any]]
    then: list[Any]


def _are_same(attributes: Iterable[ValuesView[Any]], then: list[Any]) -> bool:
    """Whether all attributes of some classes, one after the other, are those of ``then``."""
    try:
        return [*chain.from_iterable(attributes)] == then  # looks first whether they are the same objects
    except Exception:  # of others that cannot be compared, such as arrays
        return False


_joined: dict[tuple[type, ...], _Joined] = {}
_found: dict[type, _Known] = {}  # for ever: a class's methods may refer to it, so that weak keys would not die


def _known(cls: type) -> _Known:
    """Return what is known of a class; found anew when an attribute of it or of a base is another one."""
    known = _found.get(cls)
    if known is None or not _are_same(known.attributes, known.then):
        attributes = [vars(base).values() for base in cls.__mro__[:-1]]
        methods = frozenset(name for name in dir(cls) if callable(getattr(cls, name, None)))
        known = _found[cls] = _Known(attributes, [*chain(*attributes)], _find_own_methods(cls), methods)
    return known


def _find_own_methods(cls: type) -> frozenset[str]:
    names: set[str] = set()
    library = [base for base in cls.__mro__ if is_of_the_library(base)]
    for base in cls.__mro__[:-1]:
        if base in library:
            names |= {name for name, value in vars(base).items() if callable(value) and not is_of_the_library(value)}
        else:
            names |= {name for name in vars(base) if any(name in vars(known) for known in library)}
    special = {name for name in names if name.startswith("__") and name != "__call__"}
    return frozenset(names - special - {"extra_repr", "_defines_forward", "_own", "_passed_by"})


def set_in_place_of_methods(obj: Any) -> list[str]:
    """Return the names of attributes of this very object that hide methods of its class."""
    return [name for name in vars(obj) if callable(getattr(type(obj), name, None))]


def defined(cls: type, name: str) -> tuple[int, Any]:
    """Return how far up in the order of ``cls``'s bases ``name`` is defined, and as what."""
    return next((place, vars(base)[name]) for place, base in enumerate(cls.__mro__) if name in vars(base))


def is_of_the_library(thing: Any) -> bool:
    """Whether a class or a method is the library's; a decorator may have copied its name, but not what it refers to."""
    named = thing.__globals__.get("__name__") if isinstance(thing, FunctionType) else getattr(thing, "__module__", "")
    return str(named).partition(".")[0] in ("fastbp", "fastbp_kernels")

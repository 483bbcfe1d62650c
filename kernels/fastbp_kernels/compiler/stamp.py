"""A digest of all that compiled code depends on: two versions of the kernels never share compiled code.

The modules are asked of Python's importers and not of the disk, so that kernels in a zip, in a frozen program or as
bytecode alone are told apart like those in files. A module counts by its source, or where there is none by its code.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib.machinery import ModuleSpec
from types import CodeType
from typing import Any

import llvmlite
import numba
import numpy

from fastbp_kernels.compiler.numba_internals import config

# Settings of numba that do not change the code.
_IRRELEVANT = ("CACHE_DIR", "THREADING_LAYER", "NUMBA_NUM_THREADS", "NUMBA_DEFAULT_NUM_THREADS", "DEBUG_CACHE")
_WHERE_IT_STOOD = frozenset(("co_filename", "co_firstlineno", "co_linetable", "co_lnotab"))
_PACKAGE = __name__.partition(".")[0]


class UnreadablePackage(RuntimeError):
    """The kernels' importer shows neither source nor code of a module: compiled code may be of another version."""


def stamp() -> str:
    """Return a digest of the kernels' modules, of versions and of settings; the CPU is in each entry's name.

    Raises
    ------
    UnreadablePackage
    """
    digest = sha256()
    package = sys.modules[_PACKAGE]
    specs = {_PACKAGE: package.__spec__, **dict(_modules_below(_PACKAGE, package.__path__))}
    for name in sorted(specs.keys() | {name for name in sys.modules if name.startswith(f"{_PACKAGE}.")}):
        for part in (name.encode(), _content(name, specs.get(name))):
            digest.update(b"%d:" % len(part))
            digest.update(part)
    settings = sorted(
        (name, str(value))
        for name, value in vars(config).items()
        if name.isupper() and name not in _IRRELEVANT and isinstance(value, int | float | str | None)
    )
    versions = (sys.version, sys.flags.optimize, numba.__version__, llvmlite.__version__, numpy.__version__)
    digest.update(repr((versions, settings)).encode())
    return digest.hexdigest()[:16]


def _modules_below(package: str, path: Iterable[str]) -> Iterator[tuple[str, ModuleSpec | None]]:
    """Go through the modules of a package, and of the packages in it, without importing them."""
    path = list(path)
    for module in pkgutil.iter_modules(path, f"{package}."):
        spec = _spec(module.name, path)
        yield module.name, spec
        if spec is not None and spec.submodule_search_locations is not None:
            yield from _modules_below(module.name, spec.submodule_search_locations)


def _spec(name: str, path: list[str]) -> ModuleSpec | None:
    """Return how a module would be imported; ``importlib.util.find_spec`` would import the packages around it."""
    finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
    specs = (find(name, path) for find in finders if find is not None)
    return next((spec for spec in specs if spec is not None), None)


def _content(name: str, spec: ModuleSpec | None) -> bytes:
    """Return the source of a module as its loader gives it, or what its code consists of."""
    loader: Any = None if spec is None else spec.loader
    for kind, method in enumerate(("get_source", "get_code")):
        try:
            found = getattr(loader, method)(name)
        except Exception:  # a loader without the method, a damaged archive: it gives nothing
            found = None
        if found is not None:
            return b"%d" % kind + (found if isinstance(found, str) else repr(_plain(found))).encode()
    who = "the program" if loader is None else type(loader).__name__
    raise UnreadablePackage(f"{who} gives neither source nor code of {name}")


def _plain(constant: Any) -> Any:
    """Return a constant of some code, whose ``repr`` is the same in each process and for equal constants only."""
    if isinstance(constant, CodeType):
        names = [name for name in dir(constant) if name.startswith("co_") and name not in _WHERE_IT_STOOD]
        parts = [(name, getattr(constant, name)) for name in names]
        return [(name, _plain(part)) for name, part in parts if not callable(part)]
    if isinstance(constant, tuple):
        return tuple(map(_plain, constant))
    if isinstance(constant, frozenset):
        return "frozenset", sorted(repr(_plain(each)) for each in constant)
    return constant

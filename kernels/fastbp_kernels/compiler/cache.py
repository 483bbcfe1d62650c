"""Where compiled code is kept, and what makes it stale.

numba's own cache looks at a function's own file only: a change in a file that it calls into would go unnoticed, and so
would another compiler option. Here the code is kept in a folder named after what it depends on: all files of this
package, in which the compiler's options stand, Python, numba, llvmlite and numba's settings. An entry is named after
the kernel, its argument types and the CPU. It is one file with a checksum, written aside and moved into place, so that
a damaged file or another process at work is no more than a miss.

The folder is the user's own (FASTBP_CACHE_DIR, or the platform's place for caches). Code that others could have written
is not run: a folder that belongs to somebody else, or that others may write to, is not used. Where nothing can be kept,
kernels are compiled in memory, and a line on standard error says so once.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, NullCache
from numba.core.serialize import dumps

# Settings of numba that do not change the code.
_IRRELEVANT = ("CACHE_DIR", "THREADING_LAYER", "NUMBA_NUM_THREADS", "NUMBA_DEFAULT_NUM_THREADS", "DEBUG_CACHE")


def cache_folder() -> Path:
    """Return the folder for code compiled from these sources with these versions and settings."""
    return _root() / f"kernels-{_STAMP}"


def _root() -> Path:
    chosen = os.environ.get("FASTBP_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fastbp"


def _stamp() -> str:
    """Return a digest of what all compiled code depends on; the CPU is in each entry's name."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for source in sorted(package.rglob("*.py")):
        digest.update(source.relative_to(package).as_posix().encode())
        digest.update(source.read_bytes())
    settings = sorted(
        (name, str(value))
        for name, value in vars(config).items()
        if name.isupper() and name not in _IRRELEVANT and isinstance(value, int | float | str | None)
    )
    versions = (sys.version, numba.__version__, llvmlite.__version__)
    digest.update(repr((versions, settings)).encode())
    return digest.hexdigest()[:16]


_STAMP = _stamp()  # at the import: whatever is edited later is not what this process has loaded


class KernelCache(NullCache):  # type: ignore[misc]
    """numba's interface to a cache, for one kernel."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"

    @property
    def cache_path(self) -> str:
        return str(cache_folder())

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        target_context.refresh()
        entry = entry_name(f"{self._name}-{signature}", target_context.codegen())
        return rebuilt(entry, lambda reduced: CompileResultCacheImpl.rebuild(self, target_context, reduced))

    def save_overload(self, signature: Any, compiled: Any) -> None:
        keep(entry_name(f"{self._name}-{signature}", compiled.codegen), CompileResultCacheImpl.reduce(self, compiled))


def entry_name(what: str, codegen: Any) -> str:
    """Return the name of the entry for ``what``, compiled for the CPU of numba's ``codegen``."""
    digest = hashlib.sha256(repr((what, codegen.magic_tuple())).encode()).hexdigest()[:24]
    return f"{what.partition('-')[0]}-{digest}.bin"


def rebuilt(entry: str, rebuild: Callable[[Any], Any]) -> Any:
    """Return ``rebuild(what was kept as entry)``, or None and a word to the user where it is to be compiled."""
    payload = _store.read(entry)
    if payload is not None:
        try:
            return rebuild(pickle.loads(payload))
        except Exception:  # whatever is wrong with it, code that does not load is compiled anew
            pass
    _store.announce()
    return None


def keep(entry: str, reduced: Any) -> None:
    """Keep what ``rebuilt`` will hand to its ``rebuild``."""
    _store.write(entry, dumps(reduced))


class _Store:
    """Files with a checksum in the cache folder, and what the user is told about it."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._looked = False
        self._announced = False

    def folder(self) -> Path | None:
        """Return the cache folder, made if need be, or None if there is none to be trusted."""
        if not self._looked:
            self._looked = True
            try:
                folder = cache_folder()
                folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.mkdir(mode=0o700, exist_ok=True)
                _require_private(folder)
                self._folder = folder
            except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
                self._say_unkept(error, "a folder of your own")
        return self._folder

    def read(self, name: str) -> bytes | None:
        """Return what was written under ``name``, or None if there is nothing or it is damaged."""
        folder = self.folder()
        if folder is None:
            return None
        try:
            content = (folder / name).read_bytes()
        except OSError:
            return None
        checksum, payload = content[:32], content[32:]
        return payload if hashlib.sha256(payload).digest() == checksum else None

    def write(self, name: str, payload: bytes) -> None:
        """Keep ``payload`` under ``name``: as a whole or, say on a full disk, not at all."""
        folder = self.folder()
        if folder is None:
            return
        try:
            descriptor, aside = tempfile.mkstemp(prefix=f"{name}.", dir=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(hashlib.sha256(payload).digest() + payload)
                Path(aside).replace(folder / name)
            except BaseException:
                Path(aside).unlink()
                raise
        except OSError as error:
            self._folder = None
            self._say_unkept(error, "a folder with room")

    def announce(self) -> None:
        """Tell once that the compiler is at work."""
        if not self._announced:
            self._announced = True
            self._say("fastbp: compiling kernels for this machine, which takes some seconds once ...")

    def _say_unkept(self, error: Exception, remedy: str) -> None:
        self._say(f"fastbp: compiled kernels cannot be kept ({error}); set FASTBP_CACHE_DIR to {remedy}")

    @staticmethod
    def _say(line: str) -> None:
        if sys.stderr is not None:
            print(line, file=sys.stderr, flush=True)


def _require_private(folder: Path) -> None:
    """Raise PermissionError if somebody else owns the folder or the one around it, or may write there."""
    if not hasattr(os, "getuid"):  # Windows: the user's profile is private by its access list
        return
    for place in (folder, folder.parent):
        status = place.stat()
        if status.st_uid != os.getuid():
            raise PermissionError(f"{place} belongs to another user")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"{place} can be written by others")


_store = _Store()

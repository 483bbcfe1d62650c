"""Compiled code on disk: kept by kernel, argument types and CPU, in a folder for each version of what it depends on.

numba's own cache looks at a function's own file only: a change in a file that it calls into would go unnoticed, and so
would another compiler option. Here the folder is named after all that the code depends on (``stamp``), the options of
the compiler, which stand in the sources, among it. An entry is named after the kernel, its argument types and the CPU.
It is one file with a checksum, written aside and moved into place, so that a damaged file or another process at work is
no more than a miss.

Where nothing can be kept, kernels are compiled in memory. That, and that the compiler is at work, is told once through
the logger "fastbp", as warnings: a program that configures no logging shows them on standard error.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastbp_kernels.compiler.cache_folders import UnusableFolder, cache_roots, folder_in, note_use, prepared_folders
from fastbp_kernels.compiler.numba_internals import CompileResultCacheImpl, NullCache, dumps
from fastbp_kernels.compiler.stamp import UnreadablePackage, stamp

_logger = logging.getLogger("fastbp")


def _stamp_or_error() -> str | UnreadablePackage:
    try:
        return stamp()
    except UnreadablePackage as error:
        return error


_STAMP = _stamp_or_error()  # at the import: whatever is edited later is not what this process has loaded


def current_stamp() -> str:
    """Return the stamp of this process's code, or raise UnreadablePackage where none is to be had."""
    if isinstance(_STAMP, UnreadablePackage):
        raise _STAMP
    return _STAMP


def cache_folder() -> Path:
    """Return the folder of first choice for code compiled from these sources with these versions and settings.

    Raises
    ------
    UnreadablePackage, RuntimeError
        If there is no stamp, or no home to be found.
    """
    return folder_in(cache_roots()[0], current_stamp())


def folder_in_use() -> Path | None:
    """Return the folder that compiled code is kept in, or where it cannot be kept, read from, or else None."""
    folders = _store.folders()
    return folders[-1] if folders else None


class KernelCache(NullCache):  # type: ignore[misc]
    """numba's interface to a cache, for one kernel."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"

    @property
    def cache_path(self) -> str:
        return str(folder_in_use() or "")

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
    for payload in _store.read(entry):
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
    """Files with a checksum in the cache folders, and what the user is told about it."""

    def __init__(self) -> None:
        self._folders: list[Path] | None = None
        self._errors: list[Exception] = []
        self._told_unkept = self._announced = False

    def folders(self) -> list[Path]:
        """Return the trusted folders, made if need be: to read from all, and to write to the last if it can be."""
        if self._folders is None:
            self._folders = []
            if isinstance(_STAMP, UnreadablePackage):
                self._errors.append(_STAMP)
            else:
                self._folders = list(prepared_folders(_STAMP, self._errors.append))
            if not self._folders:
                self._tell_unkept(self._errors[0])
        return self._folders

    def read(self, name: str) -> list[bytes]:
        """Return what was written under ``name`` in each folder, without what is damaged."""
        found = []
        for folder in self.folders():
            try:
                content = (folder / name).read_bytes()
            except OSError:
                continue
            checksum, payload = content[:32], content[32:]
            if hashlib.sha256(payload).digest() == checksum:
                note_use(folder)
                found.append(payload)
        return found

    def write(self, name: str, payload: bytes) -> None:
        """Keep ``payload`` under ``name``: as a whole or, say on a full disk, not at all."""
        folders = self.folders()
        if not folders or self._told_unkept:
            return
        aside = folders[-1] / f"{name}.{secrets.token_hex(8)}"
        try:
            try:
                with open(aside, "xb", opener=_readable_by_all) as file:
                    file.write(hashlib.sha256(payload).digest() + payload)
                aside.replace(folders[-1] / name)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
        except OSError as error:
            self._tell_unkept(error)

    def announce(self) -> None:
        """Tell once that the compiler is at work."""
        if not self._announced:
            self._announced = True
            _logger.warning("fastbp is compiling kernels for this machine, which takes some seconds once ...")

    def _tell_unkept(self, error: Exception) -> None:
        self._told_unkept = True
        told = str(error)
        if not isinstance(error, UnusableFolder | UnreadablePackage):  # these tell the remedy, or there is none
            told += "; set FASTBP_CACHE_DIR to a folder with room that you may write to"
        _logger.warning("fastbp: compiled kernels cannot be kept: %s", told)


def _readable_by_all(path: str, flags: int) -> int:
    return os.open(path, flags, 0o644)


_store = _Store()

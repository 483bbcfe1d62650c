"""Writing a file so that it is there whole or not at all, whatever stops the process or the machine.

The new content goes to a temporary file in the same folder, ``.<name>.<random>.fastbp-tmp``, is synced to the disk and
then takes the file's place. The writer holds a lock on its temporary file; one that nobody holds was left by a process
that was killed, and the next writer of the same file removes it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be removed
    _locks = False
else:
    _locks = True

_SUFFIX = ".fastbp-tmp"


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, or leave what was there and raise OSError."""
    path = path.resolve()  # a link stays one
    _remove_left_over(path)
    descriptor, temporary = _open_temporary(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if _locks and path.exists():
                os.fchmod(descriptor, path.stat().st_mode & 0o777)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
            if _locks:
                temporary.replace(path)  # while locked, so that nobody takes it for left over
        if not _locks:
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def _open_temporary(path: Path) -> tuple[int, Path]:
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_SUFFIX}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        if not _locks or (_lock(descriptor) and temporary.exists()):
            return descriptor, temporary
        os.close(descriptor)  # another writer took it for left over before it was locked


def _remove_left_over(path: Path) -> None:
    for other in path.parent.iterdir():
        if other.name.startswith(f".{path.name}.") and other.name.endswith(_SUFFIX):
            with contextlib.suppress(OSError):
                _remove_unless_locked(other)


def _remove_unless_locked(temporary: Path) -> None:
    if not _locks:
        temporary.unlink()
        return
    descriptor = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if _lock(descriptor):
            temporary.unlink()
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

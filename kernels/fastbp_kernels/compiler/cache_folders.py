"""The folders that compiled code is kept in: where they are, whom they are trusted from, and when they go.

A root holds a folder for each stamp, that is for each version of the kernels, of numba and of its settings::

    FASTBP_CACHE_DIR, if it is set, or else the platform's place for a user's caches, then $NUMBA_CACHE_DIR/fastbp
        kernels-<stamp>
            <kernel>-<digest>.bin

Code that others could have written is not run. A folder is trusted if it and the root around it belong to the user or
to the system's administrator, whose packages are run as well, and if nobody else may write to them.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

_ADMINISTRATOR = 0  # root's user number
_DAY = 86_400.0
UNUSED_DAYS = 30


class UnusableFolder(OSError):
    """A folder whose code is not run; the text names the remedy."""


def cache_roots() -> list[Path]:
    """Return the folders around those of the stamps, the first choice first.

    Raises
    ------
    RuntimeError
        If there is no home to be found, and nothing else is chosen.
    """
    chosen = os.environ.get("FASTBP_CACHE_DIR")
    if chosen:
        return [Path(chosen).expanduser().absolute()]
    of_numba = os.environ.get("NUMBA_CACHE_DIR")
    others = [Path(of_numba).expanduser().absolute() / "fastbp"] if of_numba else []
    try:
        return [_place_of_the_platform() / "fastbp", *others]
    except RuntimeError:
        if others:
            return others
        raise


def _place_of_the_platform() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def folder_in(root: Path, stamp: str) -> Path:
    """Return the folder in a root for the code of one stamp."""
    return root / f"kernels-{stamp}"


def kept_folders(root: Path) -> list[Path]:
    """Return the folders of all stamps in a root, the last used first."""
    found = []
    with suppress(OSError):
        found = [path for path in root.iterdir() if re.fullmatch("kernels-[0-9a-f]{16}", path.name)]
    return sorted((path for path in found if path.is_dir() and not path.is_symlink()), key=last_use, reverse=True)


def last_use(folder: Path) -> float:
    """Return when a folder was last read from or written to, within a day, in seconds since the epoch.

    Whoever may only read it cannot note that, but most file systems note when a file was read.
    """
    times = [0.0]
    with suppress(OSError):
        times.append(folder.stat().st_mtime)
        times += [entry.stat().st_atime for entry in os.scandir(folder)]
    return max(times)


def note_use(folder: Path) -> None:
    """Note that a folder is in use, once a day."""
    with suppress(OSError):
        if time.time() - folder.stat().st_mtime > _DAY:
            os.utime(folder)


def remove(folder: Path) -> None:
    """Remove the folder of a stamp with what is in it, as far as the system lets this user."""
    shutil.rmtree(folder, ignore_errors=True)


def prepared_folders(stamp: str, on_error: Callable[[Exception], None]) -> Iterator[Path]:
    """Go through the folders to read code of this stamp from, up to the first that can be written to.

    A folder that is missing is made. Those of other stamps that have not been used for ``UNUSED_DAYS`` go then.
    """
    try:
        roots = cache_roots()
    except RuntimeError as error:  # there is no home
        on_error(error)
        return
    for root in roots:
        folder = folder_in(root, stamp)
        try:
            _make(folder)
            require_trusted(folder)
        except OSError as error:
            on_error(error)
            continue
        yield folder
        if os.access(folder, os.W_OK):
            return


def _make(folder: Path) -> None:
    """Make the folder of a stamp, which others may read: an image's user takes what root compiled when it was built."""
    if folder.is_dir():
        return
    folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder.mkdir(mode=0o755, exist_ok=True)
    for other in kept_folders(folder.parent):
        if time.time() - last_use(other) > UNUSED_DAYS * _DAY:
            remove(other)


def require_trusted(folder: Path) -> None:
    """Raise UnusableFolder if others than the user and root own the folder or the one around it, or may write there."""
    if not hasattr(os, "getuid"):  # Windows: the user's profile is private by its access list
        return
    user, remedy = os.getuid(), "set FASTBP_CACHE_DIR to a folder of your own"
    status = {place: place.stat() for place in (folder.parent, folder)}
    for place, of_place in status.items():
        if of_place.st_uid not in (user, _ADMINISTRATOR):
            raise UnusableFolder(f"{place} belongs to another user; {remedy}")
    open_ones = [place for place, of_place in status.items() if of_place.st_mode & (stat.S_IWGRP | stat.S_IWOTH)]
    if open_ones:
        if all(status[place].st_uid == user for place in open_ones):
            remedy = f"chmod go-w {' '.join(map(str, open_ones))}"
        raise UnusableFolder(f"{open_ones[0]} can be written by others; {remedy}")

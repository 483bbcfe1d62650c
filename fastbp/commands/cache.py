"""``python -m fastbp cache``: which compiled code is kept where, and clearing it away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from fastbp_kernels.compiler.cache import current_stamp
from fastbp_kernels.compiler.cache_folders import (
    UnusableFolder,
    cache_roots,
    folder_in,
    kept_folders,
    last_use,
    remove,
    require_trusted,
)
from fastbp_kernels.compiler.stamp import UnreadablePackage


def list_cache() -> None:
    """Print the folders of compiled code: a line for each version of the kernels, of numba and of its settings."""
    for root in cache_roots():
        print(f"{root}:{'' if kept_folders(root) else ' nothing is kept'}")
        for folder in kept_folders(root):
            used = datetime.fromtimestamp(last_use(folder)).strftime("%Y-%m-%d")
            notes = "".join(f"; {note}" for note in _notes(folder))
            print(f"  {folder.name}  {size_of(folder)}, last used {used}{notes}")


def clear_cache() -> int:
    """Remove the folders of compiled code of all versions; return the number of those that could not be removed."""
    kept = 0
    for folder in [folder for root in cache_roots() for folder in kept_folders(root)]:
        size = size_of(folder)
        remove(folder)
        kept += folder.exists()
        print(f"{folder}: {'cannot be removed' if folder.exists() else 'removed'}, {size}")
    return kept


def _notes(folder: Path) -> Iterator[str]:
    with suppress(UnreadablePackage):  # code of this version is not kept
        if folder == folder_in(folder.parent, current_stamp()):
            yield "of this version"
    try:
        require_trusted(folder)
    except UnusableFolder as error:
        yield f"not used: {error}"


def size_of(folder: Path) -> str:
    """Return the number of a folder's files and their size; those that another process removes meanwhile count 0."""
    sizes = []
    for path in folder.iterdir():
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return f"{len(sizes)} {'entry' if len(sizes) == 1 else 'entries'}, {sum(sizes) / 1e6:.1f} MB"

"""Sizes of a core's caches, as Linux tells them; else those that common processors have at the least."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class CacheSizes(NamedTuple):
    """Bytes of the caches that a core reads through: its own first and second, and the last, which others share."""

    first: int
    second: int
    last: int


_USUAL = CacheSizes(32 << 10, 256 << 10, 4 << 20)
_UNITS = {"K": 10, "M": 20, "G": 30}


def cache_sizes(root: Path = Path("/")) -> CacheSizes:
    """Return the sizes of the first core's caches.

    Source: the Linux kernel's ABI/testing/sysfs-devices-system-cpu. Files that are missing, forbidden or make no sense
    leave the usual sizes; so does another system.

    Parameters
    ----------
    root : Path
        Root of the file system.
    """
    by_level: dict[int, int] = {}
    with suppress(OSError):
        for cache in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
            with suppress(OSError, ValueError, KeyError):
                kind, level = ((cache / name).read_text().strip() for name in ("type", "level"))
                if kind in ("Data", "Unified"):
                    by_level[int(level)] = _bytes((cache / "size").read_text().strip())
    first, second = by_level.get(1, _USUAL.first), by_level.get(2, _USUAL.second)
    return CacheSizes(first, second, max(by_level.get(level, 0) for level in (2, 3, 4)) or _USUAL.last)


def _bytes(text: str) -> int:
    """Return the bytes of "32K" and the like."""
    size = int(text[:-1]) << _UNITS[text[-1]] if text[-1:].isalpha() else int(text)
    if size <= 0:
        raise ValueError(f"a cache has a size above 0, got {text!r}")
    return size

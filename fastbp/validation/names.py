"""Names of the parts of modules."""

from __future__ import annotations

from typing import Any


def require_name(name: Any, owner: str) -> None:
    """Raise TypeError or ValueError for a name under which a part would be lost among the dotted names."""
    if not isinstance(name, str):
        raise TypeError(f"{owner} takes names of modules as str, got {name!r}")
    if not name or "." in name:
        raise ValueError(f"{owner} takes names of parts without a dot, got {name!r}")

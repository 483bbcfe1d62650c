"""Where the tables of the experiments go, and how they are written and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def save_table(table: dict[str, Any], name: str, *, tell: bool = True) -> None:
    """Write ``table`` as JSON."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(table, indent=2) + "\n")
    if tell:
        print(f"wrote {shown(path)}")


def load_table(name: str) -> dict[str, Any] | None:
    """Return what ``save_table`` wrote, or None."""
    path = RESULTS / f"{name}.json"
    table: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return table


def shown(path: Path) -> Path:
    """Return a path of the results as it is told, from the repository's root."""
    return path.relative_to(RESULTS.parent.parent)

"""The results of a sweep as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import median
from typing import Any

from fastbp.commands.sweep_results import Entry

_BAR = 24  # characters of the longest bar
_CAP = 2.0  # where bars are cut off, in medians: one that diverged would leave the others no length


def table_of(entries: Sequence[Entry]) -> str:
    """Return a line for each entry, the smallest loss first, with a bar as long as its loss is large.

    Only what differs among the settings is shown. A bar that is cut off ends in an arrow.
    """
    swept = swept_names([entry.setting for entry in entries])
    found = sorted(entries, key=lambda entry: (not isfinite(entry.val_loss), entry.val_loss))
    finite = [entry.val_loss for entry in found if isfinite(entry.val_loss)]
    cap = _CAP * median(finite) if finite else 0.0
    rows = [["val loss", "", *swept, ""]]
    for entry in found:
        shown = f"{entry.val_loss:.6g}" if isfinite(entry.val_loss) else "failed"
        values, error = (str(entry.setting[name]) for name in swept), entry.error.partition("\n")[0]
        rows.append([shown, _bar(entry.val_loss, cap), *values, error])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def swept_names(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names whose values differ."""
    return [name for name in settings[0] if any(setting.get(name) != settings[0][name] for setting in settings)]


def _bar(value: float, cap: float) -> str:
    if not isfinite(value):
        return ""
    if value > cap > 0:
        return "█" * (_BAR - 1) + "▶"
    return "█" * max(1, round(_BAR * value / cap)) if cap > 0 else "█"

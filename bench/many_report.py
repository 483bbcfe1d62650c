"""The results of ``bench.many`` as a table."""

from __future__ import annotations

from typing import Any

from bench.goals import MANY

NAME = "many"


def format_table(table: dict[str, Any]) -> str:
    """Return each row that was measured beside what it is to be compared with."""
    lines = [["", "fastbp", "the other", "ratio", "at least", "holds"]]
    for goal in MANY:
        times = table["seconds"].get(goal.row, {})
        if not any(other in times for other in goal.others):
            continue
        verdict = goal.judge(times)
        ours, other = (_shown(min(map(min, times[name].values()))) for name in (goal.ours, verdict.against))
        name = goal.row if goal.ours == "fastbp" else f"{goal.row}, {goal.ours}"
        holds = "yes" if verdict.holds else "NO"
        lines.append([name, ours, f"{other}, {verdict.against}", verdict.value, verdict.target, holds])
    widths = [max(map(len, column)) for column in zip(*lines)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines)


def _shown(seconds: float) -> str:
    for unit, least in (("s", 1.0), ("ms", 1e-3), ("µs", 0.0)):
        if seconds >= least:
            return f"{seconds / (least or 1e-6):.3g} {unit}"
    raise ValueError(f"seconds are 0 or more, got {seconds}")

"""The results of ``bench.estimators`` as a table, and what they say of the goals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import exp, fsum, log
from statistics import median
from typing import Any

from bench.goals import ESTIMATORS

NAME = "estimators"
LIBRARIES = ("scikit-learn", "fastbp", "fastbp, float32")
ROUNDS = 5
SECONDS = 3.0  # for the fits of one library at one number of threads


@dataclass
class Row:
    """Seconds of one task, by library, and in it by the number of threads."""

    name: str
    seconds: dict[str, dict[int, list[float]]] = field(default_factory=dict)

    def note(self, library: str, threads: int, seconds: float) -> None:
        self.seconds.setdefault(library, {}).setdefault(threads, []).append(seconds)

    def best(self, library: str) -> float:
        """Return the median at the better number of threads."""
        return min(median(times) for times in self.seconds[library].values())

    @property
    def ratio(self) -> float | None:
        """How many times faster fastbp is; None where scikit-learn was not measured."""
        return self.best("scikit-learn") / self.best("fastbp") if "scikit-learn" in self.seconds else None

    def is_due(self, library: str, threads: int) -> bool:
        """Whether one more fit, as long as the longest one yet, would end in time."""
        taken = self.seconds.get(library, {}).get(threads, [])
        return not taken or sum(taken) + max(taken) <= SECONDS


def rows_of(table: Mapping[str, Any]) -> dict[str, Row]:
    """Return the rows of a table that was stored, by name."""
    return {
        name: Row(name, {library: {int(n): times for n, times in by.items()} for library, by in seconds.items()})
        for name, seconds in table["seconds"].items()
    }


def format_rows(rows: Iterable[Row]) -> str:
    """Return the rows as a table: milliseconds at one / two threads, and how many times faster fastbp is."""
    lines = [["ms, at 1 / 2 threads", *LIBRARIES, "ratio, each at its best"]]
    for row in rows:
        cells = [_times(row.seconds.get(library, {})) for library in LIBRARIES]
        lines.append([row.name, *cells, f"{row.ratio:.1f} ×" if row.ratio else ""])
    widths = [max(map(len, column)) for column in zip(*lines)]
    table = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
    return f"{table}\nMedians of {ROUNDS} or more; (k): of k, for each takes long."


def _times(by_threads: dict[int, list[float]]) -> str:
    return " / ".join(
        f"{median(times) * 1e3:.3g}{'' if len(times) >= ROUNDS else f' ({len(times)})'}"
        for times in by_threads.values()
    )


def verdicts(rows: Mapping[str, Row]) -> Iterator[str]:
    """Yield a line for each goal whose rows are there."""
    fits, predictions, search = (
        [row for name, row in rows.items() if name.startswith(begin)] for begin in ("fit:", "predict", "GridSearchCV")
    )
    found: list[tuple[str, float, str]] = []
    ratios = {row.name: row.ratio for row in fits if row.ratio}
    if ratios:
        slowest = min(ratios, key=lambda name: ratios[name])
        mean = exp(fsum(map(log, ratios.values())) / len(ratios))
        found.append(("fits", mean, "in the geometric mean"))
        found.append(("each fit", ratios[slowest], f"at the least: {slowest}"))
    if predictions:
        found.append(("predictions", min(row.ratio or 0.0 for row in predictions), "at the least"))
    for row in search[:1]:
        found.append(("search", row.ratio or 0.0, "in two processes"))
    for name, value, what in found:
        least = ESTIMATORS[name]
        yield f"{name}: {value:.1f} × {what}; at least {least:g} ×: {'yes' if value >= least else 'NO'}"
    if len(search) == 3:
        processes, threads, alone = (row.best("fastbp") for row in search)
        yield (
            f"two workers are not slower than one: {processes:.2f} s in processes, {threads:.2f} s in threads, "
            f"{alone:.2f} s alone: {'yes' if max(processes, threads) <= alone else 'NO'}"
        )

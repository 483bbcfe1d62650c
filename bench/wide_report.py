"""The results of ``bench.wide`` as tables: those of one machine, and a column for each."""

from __future__ import annotations

from math import exp, log
from typing import Any

from bench.contenders import GPU_PEERS, PEERS

NAME = "wide"
_OTHERS = ("torch", "jax", *GPU_PEERS)
_LIMITS = "limit of one core and of all, GFLOP/s"


def format_machine(table: dict[str, Any]) -> list[str]:
    """Return lines that tell all of one machine."""
    caches = ", ".join(f"{name} cache {size >> 10:,} KiB" for name, size in table["caches"].items())
    rounds = table["rounds"] or "less than one"
    lines = [f"{table['machine']['processor']}, {table['cores']} cores, {caches}"]
    for dtype, limits in table["limits"].items():
        told = ", ".join(f"{cores} core{'s' * (cores != '1')} {flop / 1e9:.0f}" for cores, flop in limits.items())
        lines.append(f"limit of the tile, {dtype}, GFLOP/s: {told}")
    for dtype, rows in table["seconds"].items():
        lines += ["", f"{dtype}: microseconds of a step by threads, rounds: {rounds}"]
        for row, libraries in rows.items():
            cells = [f"{_label(name)} {_by_threads(times)}" for name, times in libraries.items()]
            lines.append(f"{row:42} {'; '.join(cells)}")
    left_out = table["left_out"]
    return [*lines, "", f"left out, for the time was over: {'; '.join(left_out)}"] if left_out else lines


def format_columns(machines: dict[str, Any]) -> str:
    """Return a table of all rows, a column for each machine: fastbp's time, and that of the others over it."""
    lines = [["", *map(_heading, machines.values())], [_LIMITS, *map(_limits, machines.values())]]
    for dtype in ("float32", "float64"):
        for row in dict.fromkeys(row for table in machines.values() for row in _trainings(table, dtype)):
            cells = [_training_cell(table["seconds"][dtype].get(row, {})) for table in machines.values()]
            lines.append([f"{row}, {dtype}", *cells])
        for threads in ("1", "all"):
            cells = [products(table, dtype, threads) for table in machines.values()]
            where = "one thread" if threads == "1" else "all cores"
            lines.append([f"products beside PyTorch's, {dtype}, {where}: mean, least", *cells])
    head, *body = ("| " + " | ".join(line) + " |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])


def products(table: dict[str, Any], dtype: str, threads: str) -> str:
    """Return PyTorch's time over fastbp's for all products: the geometric mean, and the least."""
    count = str(table["cores"]) if threads == "all" else threads
    ratios = [
        libraries["torch"][count] / libraries["fastbp"][count]
        for row, libraries in table["seconds"][dtype].items()
        if " of " in row and all(count in libraries.get(name, {}) for name in ("fastbp", "torch"))
    ]
    if not ratios:
        return "not measured"
    return f"{exp(sum(map(log, ratios)) / len(ratios)):.2f}, {min(ratios):.2f}"


def _heading(table: dict[str, Any]) -> str:
    return f"{table['machine']['processor']}, {table['cores']} cores, {table['date']}"


def _limits(table: dict[str, Any]) -> str:
    return "; ".join(
        f"{dtype} {', '.join(f'{flop / 1e9:.0f}' for flop in limits.values())}"
        for dtype, limits in table["limits"].items()
    )


def _trainings(table: dict[str, Any], dtype: str) -> list[str]:
    return [row for row in table["seconds"][dtype] if " of " not in row]


def _training_cell(libraries: dict[str, dict[str, float]]) -> str:
    """Tell fastbp's least time and its threads, and how much longer each other takes at its best threads."""
    if "fastbp" not in libraries:
        return "not measured"
    ours, threads = min((seconds, count) for count, seconds in libraries["fastbp"].items())
    others = (f"{_label(name)} {min(libraries[name].values()) / ours:.2f} ×" for name in _OTHERS if name in libraries)
    return "; ".join([f"{_shown(ours)} on {threads}", *others])


def _by_threads(times: dict[str, float]) -> str:
    return " / ".join(f"{times[count] * 1e6:,.0f}" for count in sorted(times, key=int))


def _label(name: str) -> str:
    return (PEERS | GPU_PEERS)[name].label


def _shown(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} µs" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"

"""The results of ``bench.speed`` as a table, as a chart and as a section of docs/why.md."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.contenders import PEERS
from bench.figures import save_figure
from bench.goals import ALL_PEERS, WARM, best_peer, goals, seconds, share
from bench.tables import load_table
from bench.workloads import PREDICT, TANH, TRAININGS
from fastbp.plots import COLOURS, STYLE

NAME = "speed"
PAGE = Path(__file__).parents[1] / "docs" / "why.md"
BEGIN, END = "<!-- speed: written by `python -m bench.speed --page` -->", "<!-- /speed -->"
UNSTEADY = 1.5
MARKERS = dict(zip(ALL_PEERS, "osD^"))
CHARTED = tuple(workload.name for workload in (*TRAININGS, TANH, PREDICT))


def load() -> dict[str, Any]:
    """Return the last results."""
    table = load_table(NAME)
    assert table, "`make speed` has not been run"
    return table


def format_table(table: dict[str, Any], dtype: str) -> str:
    """Return every measurement in ``dtype``, in microseconds, and every goal."""
    results = table["results"][dtype]
    columns = [peer for peer in PEERS if any(peer in measured["seconds"] for measured in results.values())]
    header = [f"{dtype}: µs a step, at 1 / 2 threads", *(PEERS[peer].label for peer in columns), "of the limit"]
    rows = []
    for name, measured in results.items():
        cells = [_times(measured["seconds"].get(peer, {})) for peer in columns]
        rows.append([name, *cells, f"{share(measured):.2f}" if measured["flop"] else ""])
    parts = [_aligned(header, rows)]

    parts.append(f"~ marks a median of rounds that differ by more than {UNSTEADY:g} times.")
    limits = [measured["limit"] for measured in results.values() if measured["limit"]]
    if limits:
        parts.append(
            f"The limit: {min(limits) / 1e9:.0f} to {max(limits) / 1e9:.0f} GFLOP/s, by the tile on one core.\n"
            "The ratio at the limit is that of a fastbp that did nothing else: a goal above it is beyond this machine."
        )
    verdicts = [(goal, goal.judge(results)) for goal in goals(dtype, results)]
    rows = [
        [f"{goal.workload}{', module by module' * (getattr(goal, 'ours', '') == 'modules')}",
         verdict.against, verdict.value, verdict.at_the_limit, verdict.target, "yes" if verdict.holds else "NO"]
        for goal, verdict in verdicts
    ]  # fmt: skip
    parts.append(_aligned([f"{dtype}: goal", "against", "ratio", "at the limit", "at least", "holds"], rows))
    parts.append(f"{sum(verdict.holds for _, verdict in verdicts)} of {len(verdicts)} hold.")
    return "\n\n".join(parts)


def draw(table: dict[str, Any]) -> None:
    """Draw the time of each peer over fastbp's, each at its best number of threads; a panel for each dtype."""
    dtypes = list(table["results"])
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            1, len(dtypes), figsize=(7.2, 3.9), sharex=True, sharey=True, layout="constrained", squeeze=False
        )
        for ax, dtype in zip(axes[0], dtypes):
            _draw_panel(ax, table["results"][dtype], dtype)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=len(labels), handletextpad=0.3, columnspacing=1.4
        )
        figure.supxlabel("time of the library / time of fastbp, each at its best number of threads", fontsize=9)
    save_figure(axes[0][0], NAME)


def _draw_panel(ax: Any, results: dict[str, Any], dtype: str) -> None:
    names = [name for name in CHARTED if name in results]
    ax.axvline(1, color="black", linewidth=1.2, zorder=1)
    ax.grid(False, axis="y")
    for row, name in enumerate(names):
        ratios = {peer: seconds(results[name], peer) / seconds(results[name], "fastbp") for peer in ALL_PEERS}
        nearest = ratios[best_peer(results[name])]
        ax.hlines(row, min(1, nearest), max(value for value in ratios.values() if value < float("inf")),
                  color="#d0d0d0", linewidth=1, zorder=1)  # fmt: skip
        ax.text(nearest, row - 0.22, f"{nearest:.1f}", ha="center", va="bottom", fontsize=7,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4})  # fmt: skip
    for peer, colour in zip(ALL_PEERS, COLOURS):
        places = [(seconds(results[name], peer) / seconds(results[name], "fastbp"), row)
                  for row, name in enumerate(names) if peer in results[name]["seconds"]]  # fmt: skip
        if places:
            ax.plot(*zip(*places), MARKERS[peer], color=colour, markersize=5.5, markeredgecolor="white",
                    markeredgewidth=0.6, label=PEERS[peer].label)  # fmt: skip
    ax.set(xscale="log", title=dtype, ylim=(len(names) - 0.5, -0.7))
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.tick_params(axis="x", labelsize=8)


def write_page(table: dict[str, Any]) -> None:
    """Write the section between the marks in docs/why.md anew."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{PAGE.name} has no section between {BEGIN} and {END}")
    PAGE.write_text(f"{before}{BEGIN}\n{_section(table)}\n{END}{after}", encoding="utf-8")
    print("wrote the section on speed in docs/why.md")


def _section(table: dict[str, Any]) -> str:
    results, host = table["results"]["float32"], table["machine"]
    lines = [
        "| µs a step, float32 | fastbp | PyTorch | the fastest other | × PyTorch | × the other | of the limit |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in CHARTED:
        measured = results[name]
        others = tuple(peer for peer in ALL_PEERS if peer != "torch")
        other = best_peer(measured, others)
        ours, torch, rival = (seconds(measured, peer) for peer in ("fastbp", "torch", other))
        cells = [_number(ours), _number(torch)]
        cells.append(f"{_number(rival)} ({PEERS[other].label})" if rival < float("inf") else "")
        cells += [f"{torch / ours:.1f}", f"{rival / ours:.1f}" if rival < float("inf") else ""]
        cells.append(f"{share(measured):.2f}" if measured["flop"] else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    limits = [measured["limit"] for measured in results.values() if measured["limit"]]
    ours, torch = (median(results[WARM]["seconds"][peer]["default"]) for peer in ("fastbp", "torch"))
    by_hand = seconds(results[CHARTED[1]], "modules")
    kept = {dtype: [goal.judge(each).holds for goal in goals(dtype, each)] for dtype, each in table["results"].items()}
    counts = ", ".join(f"{sum(holds)} of {len(holds)} in {dtype}" for dtype, holds in kept.items())
    text = (
        f"Medians of {table['rounds']} rounds in turn, {table['date']}, on {host['cores']} cores of "
        f"{host['processor']}: Python {host['python']}, numba {host['numba']}, PyTorch {host['torch']}, "
        f"JAX {host['jax']}, scikit-learn {host['scikit-learn']}. Each library at its better number of threads, one or "
        "two. The limit is what one core computes with the tile on data in its first cache, "
        f"{median(limits) / 1e9:.0f} GFLOP/s; the last column is the share that one thread reaches. In a loop of one's "
        f"own, with `model(x)`, `criterion` and `opt.step()`, a step of the second row takes {_number(by_hand)} µs. A "
        "whole process "
        "that imports fastbp, trains the first row for 1,000 epochs and prints the accuracy takes "
        f'{ours:.2f} s, `python -c "import torch"` {torch:.2f} s. Of the goals in `bench/goals.py` hold {counts}; '
        "`make speed` prints them all."
    )
    return "\n".join(
        [*lines, "", wrapped(text), "", f"![Time of each library over fastbp's](../bench/results/{NAME}.png)"]
    )


def wrapped(text: str) -> str:
    """Return ``text`` in lines of at most 119 characters."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > 119:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _times(by_threads: dict[str, list[float]]) -> str:
    return " / ".join(_number(median(times)) + "~" * _unsteady(times) for times in by_threads.values())


def _unsteady(times: list[float]) -> bool:
    """Whether the rounds differ so much that something else was running, or threads waited for each other."""
    return max(times) > UNSTEADY * min(times)


def _number(value: float) -> str:
    """Return seconds as microseconds in three digits."""
    micro = value * 1e6
    return f"{micro:,.0f}" if micro >= 100 else f"{micro:.3g}"


def _aligned(header: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown, aligned for the eye."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines)

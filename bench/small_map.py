"""The results of ``bench.small`` as a map and in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.colors import LogNorm

from bench.contenders import PEERS
from bench.figures import save_figure
from bench.small import NAME
from fastbp.plots import STYLE

SPAN = 30  # ratios beyond 1 / SPAN to SPAN have the last colour


def ratios(table: dict[str, Any], library: str) -> np.ndarray:
    """Return the time of ``library`` over that of fastbp, a row a mini-batch, a column a width."""
    seconds = {name: np.array(table["seconds"][name]).T for name in (library, "fastbp")}
    return seconds[library] / seconds["fastbp"]


def draw(table: dict[str, Any]) -> None:
    """Draw a panel for each other library: its ratio in every cell, and the line where it becomes the faster one."""
    others = [name for name in table["seconds"] if name != "fastbp"]
    with pyplot.rc_context(STYLE | {"axes.grid": False}):
        figure, axes = pyplot.subplots(
            1, len(others), figsize=(7.2, 3.4), sharey=True, layout="constrained", squeeze=False
        )
        for ax, name in zip(axes[0], others):
            image = _draw_panel(ax, ratios(table, name), table["widths"], table["mini_batches"])
            ax.set_title(f"{PEERS[name].label} / fastbp")
        axes[0][0].set_ylabel("mini-batch")
        figure.supxlabel("width of the three layers", fontsize=10)
        bar = figure.colorbar(image, ax=axes[0], fraction=0.03, ticks=(1 / 10, 1 / 3, 1, 3, 10))
        bar.ax.set_yticklabels(("1/10", "1/3", "1", "3", "10"))
        bar.ax.minorticks_off()
        bar.outline.set_visible(False)
    save_figure(axes[0][0], NAME)


def _draw_panel(ax: Any, values: np.ndarray, widths: list[int], mini_batches: list[int]) -> Any:
    image = ax.imshow(values, cmap="RdBu", norm=LogNorm(1 / SPAN, SPAN), origin="lower", aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        strong = max(value, 1 / value) > 8
        ax.text(column, row, _number(value), ha="center", va="center", fontsize=7,
                color="white" if strong else "black")  # fmt: skip
    for line in borders(values >= 1):
        ax.plot(*line, color="black", linewidth=2, solid_capstyle="round")
    ax.set_xticks(range(len(widths)), widths)
    ax.set_yticks(range(len(mini_batches)), mini_batches)
    ax.tick_params(length=0, labelsize=8)
    ax.spines[:].set_visible(False)
    return image


def borders(inside: np.ndarray) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return the edges (x from and to, y from and to) between neighbouring cells of which one is inside."""
    rows, columns = inside.shape
    edges = []
    for row in range(rows):
        for column in range(columns):
            if column + 1 < columns and inside[row, column] != inside[row, column + 1]:
                edges.append(((column + 0.5, column + 0.5), (row - 0.5, row + 0.5)))
            if row + 1 < rows and inside[row, column] != inside[row + 1, column]:
                edges.append(((column - 0.5, column + 0.5), (row + 0.5, row + 0.5)))
    return edges


def in_words(table: dict[str, Any]) -> str:
    """Say for each other library where it is ahead."""
    sentences = []
    for name in table["seconds"]:
        if name == "fastbp":
            continue
        values = ratios(table, name)
        worst = np.unravel_index(values.argmin(), values.shape)
        place = f"at width {table['widths'][worst[1]]}, mini-batch {table['mini_batches'][worst[0]]}"
        sentences.append(
            f"{PEERS[name].label} takes from {_number(values.min())} ({place}) to {_number(values.max())} times the "
            f"time of fastbp, and is ahead in {(values < 1).sum()} of {values.size} cells."
        )
    return " ".join(sentences)


def _number(ratio: float) -> str:
    return f"{ratio:.{0 if ratio >= 9.95 else 1 if ratio >= 1.05 else 2}f}"

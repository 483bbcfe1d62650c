"""Where the figures and tables of the experiments go, and how they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"


def save_figure(ax: Axes, name: str) -> None:
    """Write the figure of ``ax`` as PNG and SVG, equal figures as equal files, and close it."""
    RESULTS.mkdir(exist_ok=True)
    figure = cast(Figure, ax.figure)  # never a subfigure: plot_runs makes a new figure
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(RESULTS / f"{name}.png", dpi=200)
        figure.savefig(RESULTS / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)
    print(f"wrote {_shown(RESULTS / name)}.png and .svg")


def save_table(table: dict[str, Any], name: str, *, tell: bool = True) -> None:
    """Write ``table`` as JSON."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(table, indent=2) + "\n")
    if tell:
        print(f"wrote {_shown(path)}")


def load_table(name: str) -> dict[str, Any] | None:
    """Return what ``save_table`` wrote, or None."""
    path = RESULTS / f"{name}.json"
    table: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return table


def _shown(path: Path) -> Path:
    return path.relative_to(RESULTS.parent.parent)

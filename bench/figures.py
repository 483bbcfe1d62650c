"""How the figures of the experiments are written."""

from __future__ import annotations

from typing import cast

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.tables import RESULTS, shown


def save_figure(ax: Axes, name: str) -> None:
    """Write the figure of ``ax`` as PNG and SVG, equal figures as equal files, and close it."""
    RESULTS.mkdir(exist_ok=True)
    figure = cast(Figure, ax.figure)  # never a subfigure: plot_runs makes a new figure
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(RESULTS / f"{name}.png", dpi=200)
        figure.savefig(RESULTS / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)
    print(f"wrote {shown(RESULTS / name)}.png and .svg")

"""A figure of a training's course that a notebook shows while the training runs."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import Any

from fastbp.plots import plot_history
from fastbp.training.history import History


class LivePlot:
    """Draws the history anew while a training runs in a notebook.

    It is the ``progress`` of a training::

        fastbp.train_model(..., progress=fastbp.LivePlot())

    What it draws is ``history.plot()``: losses, accuracy and all metrics. Drawing takes no more than a tenth of the
    time; the last epochs are drawn when the cell ends. Needs ``pip install "fastbp[plot]"``.

    Parameters
    ----------
    seconds : float
        The least time between two drawings.

    Raises
    ------
    RuntimeError
        Outside of a notebook.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        ipython = sys.modules.get("IPython")
        self._shell: Any = None if ipython is None else ipython.get_ipython()
        if self._shell is None:
            raise RuntimeError("LivePlot draws in a notebook; elsewhere call history.plot() after the training")
        self._least = float(seconds)
        self._handle: Any = None
        self._ended, self._cost = 0.0, 0.0
        self._waiting: History | None = None  # what was not drawn yet

    def __call__(self, history: History) -> None:
        """Draw ``history``, unless it was drawn a moment ago."""
        if self._waiting is None:
            self._shell.events.register("post_run_cell", self._finish)
        self._waiting = history
        if perf_counter() - self._ended >= max(self._least, 9 * self._cost):
            self._draw(history)

    def _draw(self, history: History) -> None:
        from matplotlib import pyplot

        began = perf_counter()
        figure = plot_history(history).figure
        pyplot.close(figure)  # type: ignore[arg-type]
        if self._handle is None:
            self._handle = sys.modules["IPython"].display.display(figure, display_id=True)
        else:
            self._handle.update(figure)
        self._ended = perf_counter()
        self._cost = self._ended - began

    def _finish(self, *result: Any) -> None:
        """Draw the last epochs at the end of the cell."""
        self._shell.events.unregister("post_run_cell", self._finish)
        history, self._waiting = self._waiting, None
        if history is not None:
            self._draw(history)

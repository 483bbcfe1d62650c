"""Figures of training: one history, or several sets of runs as a mean with a band.

matplotlib is an extra. It is imported when something is drawn, and not before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastbp.training.history import History

# Okabe and Ito's colours, told apart by colour-blind readers; the line styles tell them apart in print without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), "-", (0, (3, 1)), (0, (1, 2)))

STYLE = {
    "font.size": 9,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e0e0e0",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
}

# Where a legend covers no curve.
ABOVE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2, "borderaxespad": 0}


def plot_history(history: History, ax: Axes | None = None) -> Axes:
    """Draw the losses per sample of ``history`` against the epoch, its validation accuracy against a second axis, and
    each of its metrics on axes below.

    Parameters
    ----------
    history : History
    ax : matplotlib Axes, optional
        Where to draw losses and accuracy. None makes a new figure, with metrics.

    Returns
    -------
    Axes
        The axes of the losses; ``ax.figure.axes`` are all.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    pyplot = _pyplot()
    values = history.as_arrays()
    epochs = np.arange(1, history.epochs + 1)
    with pyplot.rc_context(STYLE):
        if ax is None:
            ax, bottom = _with_metrics(history, values, epochs, pyplot)
        else:
            bottom = ax
        lines = ax.plot(epochs, values["train_loss_mean"], color=COLOURS[0], label="training")
        if len(values["val_loss_mean"]):
            lines += ax.plot(epochs, values["val_loss_mean"], color=COLOURS[1], linestyle=LINES[1], label="validation")
        ax.set(ylabel="loss per sample")
        bottom.set(xlabel="epoch")
        if len(values["val_accuracy"]):
            right = ax.twinx()
            right.grid(False)
            right.spines["right"].set_visible(True)
            right.set(ylabel="validation accuracy", ylim=(0, 1.02))
            lines += right.plot(
                epochs,
                values["val_accuracy"],
                color=COLOURS[2],
                linestyle=LINES[2],
                label="validation accuracy",
            )
        ax.legend(handles=lines, **ABOVE)
    return ax


def _with_metrics(history: History, values: Mapping[str, Any], epochs: npt.NDArray[Any], pyplot: Any) -> Any:
    """Return the first and the last axes of a new figure: for the losses, and below them one for each metric."""
    recorded = [name for name in history.metrics if len(values[name])]
    axes = pyplot.subplots(
        1 + len(recorded), sharex=True, squeeze=False, figsize=(5.2, 3.7 + 1.6 * len(recorded)), layout="constrained",
        height_ratios=[2.2, *[1] * len(recorded)],
    )[1][:, 0]  # fmt: skip
    for index, (name, below) in enumerate(zip(recorded, axes[1:])):
        colour, line = COLOURS[(3 + index) % len(COLOURS)], LINES[(3 + index) % len(LINES)]
        below.plot(epochs[: len(values[name])], values[name], color=colour, linestyle=line, label=name)
        below.set(ylabel=name.removeprefix("val_"))
    return axes[0], axes[-1]


def plot_runs(
    series: Mapping[str, Sequence[npt.ArrayLike]],
    *,
    ylabel: str,
    ax: Axes | None = None,
    log: bool = False,
) -> Axes:
    """Draw each of ``series`` against the epoch: the mean over its runs in a band of one standard deviation.

    Parameters
    ----------
    series : mapping of label to array-like of shape (runs, epochs)
        One value for each run and epoch. The labels make the legend.
    ylabel : str
        What the values are, with their unit.
    ax : matplotlib Axes, optional
        Where to draw. None makes a new figure.
    log : bool
        Whether the values get a logarithmic axis. Mean and deviation are then those of the logarithms: the line is the
        geometric mean, and the band is as wide below it as above and never crosses zero.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    pyplot = _pyplot()
    with pyplot.rc_context(STYLE):
        if ax is None:
            ax = pyplot.subplots(figsize=(5.2, 3.7), layout="constrained")[1]
        for index, (label, values) in enumerate(series.items()):
            middle, low, high = _band(np.asarray(values, np.float64), log)
            epochs = np.arange(1, len(middle) + 1)
            colour, line = COLOURS[index % len(COLOURS)], LINES[index % len(LINES)]
            ax.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)
            ax.plot(epochs, middle, color=colour, linestyle=line, label=label)
        ax.set(xlabel="epoch", ylabel=ylabel, yscale="log" if log else "linear")
        ax.margins(x=0.01)
        ax.legend(**ABOVE)
    return ax


def _band(values: npt.NDArray[np.float64], log: bool) -> tuple[npt.NDArray[np.float64], ...]:
    """Mean over the runs (axis 0) and the mean less and plus one sample standard deviation."""
    scaled = np.log(values) if log else values
    mean, spread = scaled.mean(axis=0), scaled.std(axis=0, ddof=min(1, len(values) - 1))
    bounds = mean, mean - spread, mean + spread
    return tuple(np.exp(bound) for bound in bounds) if log else bounds


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('Plots need matplotlib: pip install "fastbp[plot]"') from error
    return pyplot

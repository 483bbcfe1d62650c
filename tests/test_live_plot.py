"""The figure that a notebook shows while a training runs, and all that a history plots."""

import json
import subprocess
import sys

import pytest
from helpers import child_environment
from test_history import train

import fastbp

CELL = """
import matplotlib
matplotlib.use("Agg")
import numpy, fastbp
from fastbp import nn, optim
x = numpy.ones((4, 2), numpy.float32)
model = nn.Sequential(nn.Linear(2, 1, rng=0))
drawn = []
live = fastbp.LivePlot({seconds})
draw, live._draw = live._draw, lambda history: (drawn.append(history.epochs), draw(history))
history = fastbp.train_model(
    model, x, x[:, :1], None, None, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1), 3, 4, progress=live
)
"""
NOTEBOOK = """
import json
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.displaypub import CapturingDisplayPublisher

shell = InteractiveShell.instance()
shell.display_pub = CapturingDisplayPublisher()
shell.run_cell({cell!r}, store_history=False).raise_error()
shell.run_cell("1", store_history=False).raise_error()
updates = [output.get("update", False) for output in shell.display_pub.outputs]
print(json.dumps([shell.user_ns["drawn"], updates]))
"""


@pytest.mark.parametrize(("seconds", "drawn"), [(0, None), (1000, [1, 3])])
def test_a_live_plot_shows_one_figure_that_follows_and_ends_with_the_last_epoch(seconds, drawn, tmp_path):
    script = NOTEBOOK.format(cell=CELL.format(seconds=seconds))
    environment = child_environment(IPYTHONDIR=str(tmp_path), MPLCONFIGDIR=str(tmp_path))
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    epochs, updates = json.loads(run.stdout.splitlines()[-1])
    assert epochs[-1] == 3
    assert drawn is None or epochs == drawn
    assert updates == [False, *[True] * (len(epochs) - 1)]


def test_a_live_plot_outside_of_a_notebook_names_the_other_way(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    with pytest.raises(RuntimeError, match=r"draws in a notebook; elsewhere call history.plot\(\)"):
        fastbp.LivePlot()


def test_a_history_plots_each_metric_on_axes_below():
    from matplotlib import pyplot

    history = train(metrics=["mae", "r2"])
    ax = history.plot()
    axes = [each for each in ax.figure.axes if each.get_ylabel() in ("mae", "r2")]
    assert [each.get_lines()[0].get_ydata().tolist() for each in axes] == [history["val_mae"], history["val_r2"]]
    assert [each.get_xlabel() for each in (ax, *axes)] == ["", "", "epoch"]
    ax.figure.canvas.draw()
    pyplot.close(ax.figure)
    assert history.metrics == ["val_mae", "val_r2"]

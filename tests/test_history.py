"""What train_model shows while it runs and returns at its end."""

import sys
import time

import numpy
import pytest
from helpers import assert_unchanged, draw, mlp, snapshot

import fastbp
from fastbp import nn, optim


def train(epochs=3, validation=True, model=None, **options):
    model = model or mlp(4, 5, 3)
    x, target = draw((20, 4), numpy.float32), numpy.eye(3, dtype=numpy.float32)[numpy.arange(20) % 3]
    val = (x, target) if validation else (None, None)
    opt = optim.SGD(model.parameters(), lr=0.01)
    return fastbp.train_model(model, x, target, *val, nn.MSELoss(), opt, epochs, 5, **options)


def test_a_history_reads_like_a_dict():
    history = train()
    names = ["train_loss", "val_loss", "val_accuracy", "train_loss_mean", "val_loss_mean"]
    assert list(history) == list(history.keys()) == names
    assert "val_loss" in history
    assert "val_los" not in history
    assert dict(history) == dict(history.items())
    assert history.get("test_loss") is None
    with pytest.raises(KeyError, match="test_loss"):
        history["test_loss"]


def test_a_history_holds_plain_floats():
    for values in train().values():
        assert isinstance(values, list)
        assert all(type(value) is float for value in values)


def test_a_history_counts_its_epochs():
    assert train(epochs=4).epochs == 4
    assert train(epochs=0).epochs == 0


def test_a_history_turns_into_arrays():
    history = train()
    arrays = history.as_arrays()
    assert arrays.keys() == history.keys()
    for name, array in arrays.items():
        assert array.dtype == numpy.float64
        numpy.testing.assert_array_equal(array, history[name])


def test_series_that_were_not_recorded_are_empty_arrays():
    arrays = train(validation=False).as_arrays()
    assert arrays["val_loss"].shape == arrays["val_accuracy"].shape == (0,)
    assert arrays["train_loss"].shape == (3,)


def test_a_history_holds_the_seconds_of_the_whole_training():
    class Slow(nn.ReLU):
        def forward(self, input):
            time.sleep(0.001)
            return super().forward(input)

    start = time.perf_counter()
    history = train(epochs=3, model=nn.Sequential(nn.Linear(4, 3), Slow()))
    assert 0.001 * 3 * 4 <= history.seconds <= time.perf_counter() - start


def test_the_last_values_are_those_per_sample_as_far_as_they_are_recorded():
    history = train()
    shown = ["train_loss_mean", "val_loss_mean", "val_accuracy"]
    assert history.last() == {name: history[name][-1] for name in shown}
    assert list(train(validation=False).last()) == ["train_loss_mean"]
    assert train(epochs=0).last() == {}


def test_repr_tells_epochs_and_last_values():
    history = train(epochs=3)
    assert "3 epochs" in repr(history)
    assert f"{history['val_accuracy'][-1]:.6g}" in repr(history)


@pytest.mark.parametrize("validation", [True, False])
def test_a_history_plots_the_means_and_the_accuracy_that_it_has(validation):
    from matplotlib import pyplot

    history = train(validation=validation)
    ax = history.plot()
    drawn = [line.get_ydata().tolist() for axes in ax.figure.axes for line in axes.get_lines()]
    names = ["train_loss_mean", "val_loss_mean", "val_accuracy"] if validation else ["train_loss_mean"]
    assert drawn == [history[name] for name in names]
    ax.figure.canvas.draw()
    pyplot.close(ax.figure)


def test_a_history_plots_on_the_axes_that_it_is_given():
    from matplotlib import pyplot

    figure, ax = pyplot.subplots()
    assert train().plot(ax) is ax
    assert train().plot(ax=ax) is ax
    pyplot.close(figure)


def test_plot_without_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    history = train()
    with pytest.raises(ImportError, match=r"matplotlib.*fastbp\[plot\]"):
        history.plot()


def test_a_progress_bar_counts_the_epochs(capsys):
    train(epochs=3, progress=True)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    for name in ("train_loss_mean", "val_loss_mean", "val_accuracy"):
        assert f"{name}=" in shown
    assert "train_loss=" not in shown, "it is on another scale than the validation's"


@pytest.mark.parametrize("progress", [None, False])
def test_no_bar_where_nobody_watches(capsys, progress):
    train(progress=progress)
    assert capsys.readouterr() == ("", "")


def test_a_bar_comes_by_itself_at_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    train(epochs=3)
    assert "3/3" in capsys.readouterr().err
    train(epochs=3, progress=False)
    assert capsys.readouterr().err == ""


@pytest.fixture
def without_tqdm(monkeypatch):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without_tqdm")
def test_a_demanded_bar_without_tqdm_names_the_extra_and_changes_nothing():
    model = mlp(4, 5, 3)
    before = snapshot(model)
    with pytest.raises(ImportError, match=r"progress=True.*tqdm.*fastbp\[progress\]"):
        train(model=model, progress=True)
    assert_unchanged(model, before)


@pytest.mark.usefixtures("without_tqdm")
def test_a_terminal_without_tqdm_trains_without_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert train(epochs=3).epochs == 3
    assert capsys.readouterr() == ("", "")


def test_the_progress_bar_does_not_change_the_result():
    assert dict(train(progress=True)) == dict(train(progress=False))

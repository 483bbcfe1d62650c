"""Metrics of the validation data after every epoch: by name as scikit-learn computes them, or functions."""

import copy

import numpy
import pytest
import sklearn.metrics
from helpers import assert_unchanged, draw, mlp, snapshot
from same_bits import OwnSGD
from test_resume import Stop

import fastbp
from fastbp import nn, optim
from fastbp.training.metrics import mae, r2


@pytest.fixture(params=["engine", "module by module"])
def opt_class(request):
    return optim.SGD if request.param == "engine" else OwnSGD


def data_of(outputs, dtype=numpy.float32):
    shapes = ((40, 4), (40, outputs), (20, 4), (20, outputs))
    return [draw(shape, dtype, seed) for seed, shape in enumerate(shapes)]


def trained(opt_class, data, metrics, criterion=None, epochs=4, model=None, **options):
    model = mlp(4, 9, data[1].shape[1] if data[1].ndim == 2 else 3, dtype=data[0].dtype) if model is None else model
    opt = opt_class(model.parameters(), lr=0.05)
    criterion = criterion or nn.MSELoss()
    return model, fastbp.train_model(model, *data, criterion, opt, epochs, 7, metrics=metrics, **options)


def largest(prediction, target):
    return numpy.abs(prediction - target).max()


@pytest.mark.parametrize("outputs", [1, 3])
def test_metrics_are_recorded_after_every_epoch_with_the_model_of_then(outputs, opt_class, dtype):
    data, seen = data_of(outputs, dtype), []

    def look(history):
        prediction = model.predict(data[2])
        seen.append((mae(prediction, data[3]), r2(prediction, data[3]), largest(prediction, data[3])))

    model = mlp(4, 9, outputs, dtype=dtype)
    _, history = trained(opt_class, data, ["mae", "r2", largest], model=model, progress=look)
    assert [history["val_mae"], history["val_r2"], history["val_largest"]] == [list(values) for values in zip(*seen)]
    assert len(seen) == 4
    assert list(history)[-3:] == ["val_mae", "val_r2", "val_largest"]
    assert history.last()["val_largest"] == history["val_largest"][-1]
    assert history.as_arrays()["val_mae"].shape == (4,)


@pytest.mark.parametrize("shape", [(20, 1), (20, 3), (2, 3), (20, 2, 2)])
def test_mae_and_r2_are_those_of_scikit_learn(shape, dtype):
    prediction, target = draw(shape, dtype), draw(shape, dtype, 1)
    target[..., 0] = target.flat[0]  # an output without spread
    flat = [array.reshape(len(array), -1).astype(numpy.float64) for array in (target, prediction)]
    assert mae(prediction, target) == pytest.approx(sklearn.metrics.mean_absolute_error(*flat), rel=1e-12)
    assert r2(prediction, target) == pytest.approx(sklearn.metrics.r2_score(*flat), rel=1e-12)
    assert r2(target, target) == sklearn.metrics.r2_score(flat[0], flat[0]) == 1


def test_metrics_of_too_few_rows_are_nan():
    nothing = numpy.zeros((0, 3), numpy.float32)
    assert numpy.isnan([mae(nothing, nothing), r2(nothing, nothing), r2(nothing[:1], nothing[:1])]).all()


@pytest.mark.parametrize("kind", ["class indices", "one-hot", "a column"])
def test_accuracy_by_name_is_that_of_compute_accuracy(kind, opt_class):
    x, _, val_x, _ = data_of(3)
    classes, val_classes = (numpy.arange(count) % 3 for count in (40, 20))
    targets, criterion = (classes, val_classes), nn.CrossEntropyLoss()
    if kind != "class indices":
        targets = [numpy.eye(3, dtype=numpy.float32)[c][:, : 1 if kind == "a column" else 3] for c in targets]
        targets, criterion = [numpy.ascontiguousarray(target) for target in targets], nn.MSELoss()
    data = (x, targets[0], val_x, targets[1])
    model, history = trained(opt_class, data, ["accuracy"], criterion)
    assert len(history["val_accuracy"]) == 4
    assert history["val_accuracy"][-1] == fastbp.compute_accuracy(model, val_x, targets[1])


class LogitLoss:
    """The logistic loss of one column of logits."""

    takes_logits = True

    def forward(self, prediction, target):
        self.grad = (1 / (1 + numpy.exp(-prediction)) - target) / numpy.float32(len(target))
        return float(numpy.logaddexp(0, prediction).mean() - (target * prediction).mean())

    def backward(self):
        return self.grad


def test_the_accuracy_of_logits_parts_them_at_zero():
    x, _, val_x, _ = data_of(1)
    target, val_target = ((rows[:, :1] > 0).astype(numpy.float32) for rows in (x, val_x))
    model, history = trained(optim.SGD, (x, target, val_x, val_target), ["accuracy", "mae"], LogitLoss())
    expected = numpy.mean((model.predict(val_x) > 0) == (val_target == 1))
    assert (len(history["val_accuracy"]), history["val_accuracy"][-1]) == (4, expected)
    assert expected != numpy.mean((model.predict(val_x) > 0.5) == (val_target == 1))
    _, unasked = trained(optim.SGD, (x, target, val_x, val_target), None, LogitLoss())
    assert unasked["val_accuracy"] == []


def test_an_early_stopping_may_look_at_a_metric(opt_class):
    data = data_of(3)
    rule = fastbp.EarlyStopping(2, monitor="val_largest", mode="min")
    _, history = trained(opt_class, data, [largest], early_stopping=rule, epochs=50)
    assert history.best_epoch == 1 + numpy.argmin(history["val_largest"])


def test_a_metric_that_raises_leaves_the_training_to_go_on_with_the_same_bits(opt_class, tmp_path):
    data, calls = data_of(3), []
    _, expected = trained(opt_class, data, ["mae", largest], epochs=6)

    def failing(prediction, target):
        calls.append(1)
        if len(calls) == 4:  # once before the training
            raise Stop
        return largest(prediction, target)

    failing.__name__ = "largest"
    model, history = mlp(4, 9, 3), fastbp.History()
    with pytest.raises(Stop):
        trained(opt_class, data, ["mae", failing], epochs=6, model=model, history=history)
    assert (history.epochs, len(history["val_largest"]), len(history["val_mae"])) == (3, 2, 2)
    fastbp.save(tmp_path / "c", model, history=history)
    for model, history in ((model, history), fastbp.load(tmp_path / "c")[::2]):  # noqa: B020
        trained(opt_class, data, ["mae", largest], epochs=6, model=model, history=history)
        assert dict(history) == dict(expected)


WRONG = {
    "a name": (["f1"], ValueError, "knows the metrics accuracy, mae, r2, got 'f1'; pass a function"),
    "a text": ("mae", TypeError, "takes metrics as a list of names and functions, got 'mae'"),
    "a function alone": (largest, TypeError, "metrics as a list of names and functions"),
    "a number": ([3], TypeError, "takes metrics as names and functions"),
    "a lambda": ([lambda p, t: 0.0], ValueError, "metrics that have names, .*'its name': function"),
    "twice": (["mae", "mae"], ValueError, "metrics of different names, got 'mae' again"),
    "a name that is taken": ({"loss": largest}, ValueError, "different names, got 'loss' again"),
    "accuracy of no classes": (["accuracy"], ValueError, r"'accuracy' with one-hot .*others of shape \(20, 3\)"),
    "no number": ({"whole": lambda p, t: p}, TypeError, "metrics that return a number, got ndarray from 'whole'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_metrics_that_cannot_be_computed_are_refused_before_anything_changes(case, opt_class):
    metrics, error, match = WRONG[case]
    model, history = mlp(4, 9, 3), fastbp.History()
    before, kept = snapshot(model), copy.deepcopy(vars(history))
    with pytest.raises(error, match="train_model .*" + match):
        trained(opt_class, data_of(3), metrics, model=model, history=history)
    assert_unchanged(model, before)
    assert vars(history) == kept


def test_metrics_need_validation_data_and_the_shape_of_the_outputs(opt_class):
    x, target, val_x, _ = data_of(3)
    with pytest.raises(ValueError, match="train_model takes metrics with val_input and val_target"):
        trained(opt_class, (x, target, None, None), ["mae"])
    classes = numpy.arange(40) % 3
    with pytest.raises(ValueError, match=r"metric 'mae' takes val_target of the shape .*\(20, 3\), got \(20,\)"):
        trained(opt_class, (x, classes, val_x, classes[:20]), ["mae"], nn.CrossEntropyLoss())


def test_a_history_goes_on_with_the_same_metrics_only(opt_class):
    data, history, model = data_of(3), fastbp.History(), mlp(4, 9, 3)
    trained(opt_class, data, ["mae"], epochs=2, model=model, history=history)
    with pytest.raises(ValueError, match=r"history is of a training with metrics \('mae',\), got \('r2',\)"):
        trained(opt_class, data, ["r2"], model=model, history=history)
    trained(opt_class, data, ["mae"], model=model, history=history)
    assert len(history["val_mae"]) == 4


def test_the_bar_shows_metrics(monkeypatch):
    import tqdm.auto

    shown = []

    class Bar:
        def __init__(self, **options):
            self.n = 0

        def set_postfix(self, values, refresh):
            shown.append(values)

        def update(self, epochs):
            self.n += epochs

        def close(self):
            pass

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    trained(optim.SGD, data_of(3), ["mae"], progress=True)
    assert len(shown) == 4
    assert list(shown[-1]) == ["train_loss_mean", "val_loss_mean", "val_mae"]

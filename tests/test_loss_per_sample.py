"""Losses per sample: those of training and validation on one scale."""

import copy

import numpy
import pytest
from helpers import draw, mlp
from same_bits import Network, OwnSGD, assert_same_bits, train
from test_damaged_checkpoint import forged
from test_resume import SHUFFLED, Stop, StoppingSGD, continued, outcome

import fastbp
from fastbp import nn, optim

NETWORK = Network((4, 9, 3), ("Tanh", None))
WAYS = [False, True]


def still(data, reduction, size, *, by_modules=False, criterion=None):
    """The history of an epoch that changes nothing."""
    model = NETWORK.build(data[0].dtype)
    opt = (OwnSGD if by_modules else optim.SGD)(model.parameters(), lr=0)
    return fastbp.train_model(model, *data, criterion or nn.MSELoss(reduction=reduction), opt, 1, size)


@pytest.mark.parametrize("by_modules", WAYS)
@pytest.mark.parametrize("size", [1, 7, 20, 40, 100])
def test_at_a_fixed_model_training_and_validation_on_the_same_data_agree(size, by_modules, reduction):
    x, target = NETWORK.data(numpy.float64, 40)[:2]
    history = still((x, target, x, target), reduction, size, by_modules=by_modules)
    assert history["train_loss_mean"] == [pytest.approx(history["val_loss_mean"][0], rel=1e-14)]


def test_a_mean_per_sample_is_what_numpy_says():
    data = NETWORK.data(numpy.float64, 40, 11)
    errors = (NETWORK.build(numpy.float64).predict(data[0]) - data[1]) ** 2
    val_errors = (NETWORK.build(numpy.float64).predict(data[2]) - data[3]) ** 2
    by_sum, by_mean = (still(data, reduction, 7) for reduction in ("sum", "mean"))
    assert by_sum["train_loss_mean"] == [pytest.approx(errors.sum() / 40)]
    assert by_sum["val_loss_mean"] == [pytest.approx(val_errors.sum() / 11)]
    assert by_mean["train_loss_mean"] == [pytest.approx(errors.mean())]
    assert by_mean["val_loss_mean"] == by_mean["val_loss"] == [pytest.approx(val_errors.mean())]


class OwnLoss:
    """Half the squared error, as a user may write it: ``reduction`` is set by who wants it."""

    def __init__(self, reduce):
        self.reduce = reduce

    def forward(self, prediction, target):
        self.grad = prediction - target
        return float(self.reduce(0.5 * (prediction - target) ** 2))

    def backward(self):
        return self.grad


def test_a_users_criterion_is_a_mean_unless_it_says_sum():
    data = NETWORK.data(numpy.float64, 40, 11)
    history = still(data, None, 7, criterion=OwnLoss(numpy.mean))
    by_mean = still(data, "mean", 7)
    assert history["train_loss_mean"] == [pytest.approx(by_mean["train_loss_mean"][0] / 2)]
    criterion = OwnLoss(numpy.sum)
    criterion.reduction = "sum"
    history, by_sum = still(data, None, 7, criterion=criterion), still(data, "sum", 7)
    assert history["train_loss_mean"] == [pytest.approx(by_sum["train_loss_mean"][0] / 2)]
    assert history["val_loss_mean"] == [pytest.approx(by_sum["val_loss_mean"][0] / 2)]


@pytest.mark.parametrize("val", [None, 0, 20])
def test_a_mean_comes_with_every_loss(val, reduction):
    model, data = NETWORK.build(numpy.float32), NETWORK.data(numpy.float32, 40, val)
    history = train(model, data, 3, 7, reduction=reduction).history
    assert len(history["train_loss_mean"]) == 3
    assert len(history["val_loss_mean"]) == len(history["val_loss"]) == (0 if val is None else 3)
    if val == 0:
        assert numpy.isnan(history["val_loss_mean"]).all()


@pytest.mark.parametrize("steps", [1, 5, 6, 13, 35])
@pytest.mark.parametrize("finishes", ["engine", "module by module"])
def test_a_training_that_goes_on_within_an_epoch_has_the_same_means(steps, finishes, reduction, dtype, tmp_path):
    data = NETWORK.data(dtype, 40, 20)
    expected = train(NETWORK.build(dtype), data, 6, 7, reduction=reduction, **SHUFFLED)
    model, history, lr = NETWORK.build(dtype), fastbp.History(), 0.05 if reduction == "mean" else 0.05 / 50
    opt = StoppingSGD(model.parameters(), lr=lr)
    opt.last = steps
    options = {"shuffle": True, "rng": numpy.random.default_rng(5)}
    with pytest.raises(Stop):
        fastbp.train_model(model, *data, nn.MSELoss(reduction), opt, 6, 7, history=history, **options)
    fastbp.save(tmp_path / "c", model, optim.SGD(model.parameters(), lr=lr), history)
    model, _, history = fastbp.load(tmp_path / "c")
    opt = (optim.SGD if finishes == "engine" else OwnSGD)(model.parameters(), lr=lr)
    fastbp.train_model(model, *data, nn.MSELoss(reduction), opt, 6, 7, history=history, **options)
    assert_same_bits(expected, outcome(model, history))


def before_the_means(content, tensors):
    """What a file held when fastbp recorded no means, and did not note the parameters' names."""
    del content["history"]["weighted_loss"], content["history"]["setting"]["parameters"]
    for name in ("train_loss_mean", "val_loss_mean"):
        del tensors[f"history.{name}"]


def test_a_file_of_before_loads_and_its_training_goes_on(tmp_path):
    data, dtype = NETWORK.data(numpy.float32, 40, 20), numpy.float32
    expected = train(NETWORK.build(dtype), data, 6, 7, **SHUFFLED)
    model, history = NETWORK.build(dtype), fastbp.History()
    opt = StoppingSGD(model.parameters(), lr=0.05)
    opt.last = 15
    with pytest.raises(Stop):
        continued(model, data, opt, history, **SHUFFLED)
    fastbp.save(tmp_path / "c", model, optim.SGD(model.parameters(), lr=0.05), history)
    (tmp_path / "c").write_bytes(forged((tmp_path / "c").read_bytes(), before_the_means))
    model, opt, history = fastbp.load(tmp_path / "c")
    continued(model, data, opt, history, **SHUFFLED)
    for name in ("train_loss_mean", "val_loss_mean"):
        assert numpy.isnan(history[name][:2]).all()
        assert history[name][2:] == expected.history[name][2:]
        history[name][:2] = expected.history[name][:2]
    assert_same_bits(expected, outcome(model, history))


@pytest.mark.parametrize("name", ["train_loss_mean", "val_loss_mean"])
@pytest.mark.parametrize("values", [numpy.zeros(0), numpy.zeros(2), numpy.zeros((3, 1)), numpy.zeros(3, numpy.float32)])
def test_a_file_whose_means_do_not_fit_its_losses_is_refused(name, values, tmp_path):
    history = train(NETWORK.build(numpy.float32), NETWORK.data(numpy.float32, 40, 20), 3, 7).history
    fastbp.save(tmp_path / "c", NETWORK.build(numpy.float32), history=history)
    changed = forged((tmp_path / "c").read_bytes(), lambda _, tensors: tensors.update({f"history.{name}": values}))
    (tmp_path / "c").write_bytes(changed)
    with pytest.raises(fastbp.CheckpointError):
        fastbp.load(tmp_path / "c")


def test_an_epoch_that_stops_behind_its_short_last_mini_batch_keeps_its_mean():
    data, expected = NETWORK.data(numpy.float32, 40, 20), None

    class StoppingModel(type(NETWORK.build(numpy.float32))):
        def predict(self, input):
            if stops and len(input) == 20:
                raise Stop
            return super().predict(input)

    for stops in ([], [True]):
        model, history = StoppingModel(*NETWORK.build(numpy.float32)), fastbp.History()
        opt = optim.SGD(model.parameters(), lr=0.05)
        if stops:
            with pytest.raises(Stop):
                continued(model, data, opt, history, 2)
            assert (history.epochs, history.position.batches) == (0, 6)
            stops.clear()
        continued(model, data, opt, history, 2)
        expected = expected or copy.deepcopy(dict(history))
    assert dict(history) == expected


def test_plot_draws_the_two_means_on_one_scale():
    from matplotlib import pyplot

    history = train(mlp(4, 9, 3), NETWORK.data(numpy.float32, 40, 20), 3, 7, reduction="sum").history
    ax = history.plot()
    lines = {line.get_label(): line.get_ydata().tolist() for line in ax.get_lines()}
    assert lines == {"training": history["train_loss_mean"], "validation": history["val_loss_mean"]}
    assert ax.get_ylabel() == "loss per sample"
    pyplot.close(ax.figure)


def test_a_spoilt_mini_batch_shows_in_the_mean():
    data = NETWORK.data(numpy.float32, 40)
    data[0][39, 1] = numpy.nan
    for by_modules in WAYS:
        outcome = train(NETWORK.build(numpy.float32), data, 1, 7, by_modules=by_modules, on_nonfinite="ignore")
        assert numpy.isnan(outcome.history["train_loss_mean"]).all()


def test_draws_are_not_all_alike():
    """The short last mini-batch counts less than the others: the plain mean of the batch losses is another number."""
    x, target = NETWORK.data(numpy.float64, 40)[:2]
    history = still((x, target + draw((40, 3), numpy.float64), None, None), "mean", 7)
    assert history["train_loss_mean"][0] != pytest.approx(history["train_loss"][0] / 6, rel=1e-6)

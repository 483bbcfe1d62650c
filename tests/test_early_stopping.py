"""Early stopping: when a training ends by it, which parameters it leaves, and that it goes on with the same bits."""

import copy
import re

import numpy
import pytest
from helpers import assert_unchanged, snapshot
from same_bits import Network, OwnSGD, assert_same_bits, outcome, train
from test_resume import SHUFFLED, Stop, continued

import fastbp
from fastbp import optim
from fastbp.training.early_stopping import BestEpoch

NETWORK = Network((4, 9, 3), ("Tanh", None))
LR = 1.3  # too large, so that the validation loss goes up and down


@pytest.fixture(params=["engine", "module by module"])
def opt_class(request):
    return optim.SGD if request.param == "engine" else OwnSGD


def begin(opt_class, dtype=numpy.float32, lr=LR):
    model = NETWORK.build(dtype)
    return model, opt_class(model.parameters(), lr=lr), fastbp.History()


def go_on(parts, data, rule, epochs=60, **options):
    model, opt, history = parts
    options = {"on_nonfinite": "ignore", **SHUFFLED, **options}
    return continued(model, data, opt, history, epochs, early_stopping=rule, **options)


def first_wait(losses, patience, min_delta=0.0):
    """The best epoch and the one after which patience is over, both from 1: the rule written out."""
    best, best_epoch = numpy.inf, 0
    for epoch, loss in enumerate(losses, 1):
        if loss < best - min_delta:
            best, best_epoch = loss, epoch
        if epoch - best_epoch == patience:
            return best_epoch, epoch
    return best_epoch, len(losses)


@pytest.mark.parametrize("min_delta", [0.0, 0.02])
@pytest.mark.parametrize("patience", [1, 2, 5])
def test_a_training_ends_after_patience_with_the_parameters_of_its_best_epoch(patience, min_delta, opt_class, dtype):
    data, parts = NETWORK.data(dtype, 40, 20), begin(opt_class, dtype)
    by_modules = opt_class is OwnSGD
    whole = train(NETWORK.build(dtype), data, 60, 7, by_modules=by_modules, lr=LR, on_nonfinite="ignore", **SHUFFLED)
    best, last = first_wait(whole.history["val_loss"], patience, min_delta)
    assert 1 <= best < last < 60
    history = go_on(parts, data, fastbp.EarlyStopping(patience, min_delta))
    assert (history.epochs, history.best_epoch, history.stopped_by) == (last, best, "early_stopping")
    shorter = train(NETWORK.build(dtype), data, best, 7, by_modules=by_modules, lr=LR, **SHUFFLED)
    for mine, theirs in zip(parts[0].parameters(), shorter.parameters, strict=True):
        numpy.testing.assert_array_equal(mine.data, theirs)


def test_without_restoring_the_parameters_are_those_of_the_last_epoch(opt_class):
    data, parts = NETWORK.data(numpy.float32, 40, 20), begin(opt_class)
    history = go_on(parts, data, fastbp.EarlyStopping(3, restore_best=False))
    assert history.stopped_by == "early_stopping"
    by_modules = opt_class is OwnSGD
    shorter = train(NETWORK.build(numpy.float32), data, history.epochs, 7, by_modules=by_modules, lr=LR, **SHUFFLED)
    assert_same_bits(shorter, outcome(parts[0], history))


def test_all_epochs_end_with_the_best_parameters_too(opt_class):
    data, parts = NETWORK.data(numpy.float32, 40, 20), begin(opt_class)
    history = go_on(parts, data, fastbp.EarlyStopping(50), 30)
    assert (history.epochs, history.stopped_by) == (30, "epochs")
    assert history.best_epoch == 1 + numpy.argmin(history["val_loss"])
    model, data_out = parts[0], (data[2], data[3])
    assert fastbp.nn.MSELoss()(model.predict(data_out[0]), data_out[1]) == min(history["val_loss"])


STEPS = {
    "all epochs": lambda epoch: {"epochs": epoch},
    "a progress": lambda epoch: {"progress": lambda history: history.epochs == epoch},
}


@pytest.mark.parametrize("how", STEPS)
@pytest.mark.parametrize("epoch", [1, 4, 9])
def test_a_training_that_stopped_goes_on_with_the_same_bits_from_a_file_too(epoch, how, opt_class, dtype, tmp_path):
    data, rule = NETWORK.data(dtype, 40, 20), fastbp.EarlyStopping(6)
    whole = begin(opt_class, dtype)
    go_on(whole, data, rule)
    assert whole[2].epochs > 9
    parts = begin(opt_class, dtype)
    history = go_on(parts, data, rule, **{"epochs": 60, **STEPS[how](epoch)})
    assert history.epochs == epoch
    fastbp.save(tmp_path / "c", parts[0], optim.SGD(parts[0].parameters(), lr=LR), history)
    model, _, history = fastbp.load(tmp_path / "c")
    for again in (parts, (model, opt_class(model.parameters(), lr=LR), history)):
        go_on(again, data, rule)
        assert_same_bits(outcome(whole[0], whole[2]), outcome(again[0], again[2]))
        assert (again[2].best_epoch, again[2].stopped_by) == (whole[2].best_epoch, "early_stopping")


def test_more_patience_goes_on_from_the_last_epoch_and_not_from_the_best(opt_class):
    data, parts = NETWORK.data(numpy.float32, 40, 20), begin(opt_class)
    first = go_on(parts, data, fastbp.EarlyStopping(2)).epochs
    history = go_on(parts, data, fastbp.EarlyStopping(6))
    whole = begin(opt_class)
    go_on(whole, data, fastbp.EarlyStopping(6))
    assert history.epochs > first
    assert_same_bits(outcome(whole[0], whole[2]), outcome(parts[0], history))


def test_the_same_call_again_trains_nothing_and_says_so(opt_class):
    data, parts = NETWORK.data(numpy.float32, 40, 20), begin(opt_class)
    go_on(parts, data, fastbp.EarlyStopping(2))
    before, epochs = snapshot(parts[0]), parts[2].epochs
    with pytest.warns(UserWarning, match=rf"stopped by early stopping after {epochs} epochs, .*larger patience"):
        history = go_on(parts, data, fastbp.EarlyStopping(2))
    assert (history.epochs, history.stopped_by) == (epochs, "early_stopping")
    assert_unchanged(parts[0], before)


def test_a_training_goes_on_without_the_rule_as_if_it_had_had_none(opt_class):
    data, parts = NETWORK.data(numpy.float32, 40, 20), begin(opt_class, lr=0.05)
    go_on(parts, data, fastbp.EarlyStopping(60), 3)
    history = go_on(parts, data, None, 6)
    expected = train(NETWORK.build(numpy.float32), data, 6, 7, by_modules=opt_class is OwnSGD, **SHUFFLED)
    assert_same_bits(expected, outcome(parts[0], history))
    assert history.best_epoch is None


def test_epochs_from_before_the_rule_do_not_count(opt_class):
    data, parts = NETWORK.data(numpy.float32, 40, 20), begin(opt_class, lr=0.0)
    go_on(parts, data, None, 4)
    history = go_on(parts, data, fastbp.EarlyStopping(3))
    assert (history.best_epoch, history.epochs) == (4, 7)


def test_what_comes_between_an_epoch_and_its_note_is_caught_up(opt_class, monkeypatch):
    """An interrupt held back while the epoch was recorded comes before the rule has looked at it."""
    data, whole, parts = NETWORK.data(numpy.float32, 40, 20), begin(opt_class), begin(opt_class)
    rule, look = fastbp.EarlyStopping(6), BestEpoch.look
    best = go_on(whole, data, rule).best_epoch

    def interrupted(self, history, model):
        if history.epochs == best:
            raise Stop
        look(self, history, model)

    monkeypatch.setattr(BestEpoch, "look", interrupted)
    with pytest.raises(Stop):
        go_on(parts, data, rule)
    monkeypatch.setattr(BestEpoch, "look", look)
    go_on(parts, data, rule)
    assert_same_bits(outcome(whole[0], whole[2]), outcome(parts[0], parts[2]))


def test_larger_is_better_for_accuracy_and_for_whom_it_is_said(opt_class):
    data = NETWORK.data(numpy.float32, 40, 20)
    history = go_on(begin(opt_class), data, fastbp.EarlyStopping(4, monitor="val_accuracy"))
    assert history.best_epoch == 1 + numpy.argmax(history["val_accuracy"])
    history = go_on(begin(opt_class), data, fastbp.EarlyStopping(4, monitor="train_loss", mode="max"))
    assert history.best_epoch == 1 + numpy.argmax(history["train_loss"])


def test_nan_is_never_better_and_leaves_a_model_as_it_is_if_nothing_else_came(opt_class):
    data, parts = NETWORK.data(numpy.float32, 40, 20), begin(opt_class)
    data[2][0, 0] = numpy.nan
    history = go_on(parts, data, fastbp.EarlyStopping(3))
    assert (history.epochs, history.best_epoch, history.stopped_by) == (3, None, "early_stopping")


def test_the_optimisers_state_is_left_as_it_is(dtype):
    data, model, history = NETWORK.data(dtype, 40, 20), NETWORK.build(dtype), fastbp.History()
    opt = optim.Adam(model.parameters(), lr=0.5)
    continued(model, data, opt, history, 60, early_stopping=fastbp.EarlyStopping(3), **SHUFFLED)
    assert history.best_epoch < history.epochs < 60
    assert opt.steps == 6 * history.epochs


def test_a_history_with_a_best_epoch_can_be_copied(opt_class):
    data, parts = NETWORK.data(numpy.float32, 40, 20), begin(opt_class)
    go_on(parts, data, fastbp.EarlyStopping(3))
    _, history = copy.deepcopy((parts[0], parts[2]))
    assert (history.best_epoch, history.stopped_by) == (parts[2].best_epoch, "early_stopping")


WRONG = {
    "patience 0": ({"patience": 0}, ValueError, "patience of 1 or more, got 0"),
    "patience": ({"patience": 2.0}, TypeError, r"patience as an int, got 2\.0"),
    "min_delta": ({"patience": 1, "min_delta": -1}, ValueError, r"min_delta of 0 or more, got -1"),
    "mode": ({"patience": 1, "mode": "best"}, ValueError, "mode 'min' or 'max', got 'best'"),
    "monitor": ({"patience": 1, "monitor": 3}, TypeError, "monitor as the name of a series, got 3"),
    "no mode": ({"patience": 1, "monitor": "val_f1"}, ValueError, "mode='min' or mode='max' for 'val_f1'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_early_stopping_says_what_it_takes(case):
    arguments, error, match = WRONG[case]
    with pytest.raises(error, match="EarlyStopping takes .*" + match):
        fastbp.EarlyStopping(**arguments)


@pytest.mark.parametrize(("rule", "error", "match"), [
    (fastbp.EarlyStopping(3), ValueError, "records, train_loss, train_loss_mean, got 'val_loss'; pass val"),
    (fastbp.EarlyStopping(3, monitor="val_mae"), ValueError, "got 'val_mae'"),
    (3, TypeError, r"early_stopping as a fastbp\.EarlyStopping, got 3"),
])  # fmt: skip
def test_a_rule_that_cannot_be_followed_is_refused_before_anything_changes(rule, error, match, opt_class):
    data, parts = NETWORK.data(numpy.float32, 40), begin(opt_class)
    before, kept = snapshot(parts[0]), copy.deepcopy(vars(parts[2]))
    with pytest.raises(error, match=match):
        go_on(parts, data, rule)
    assert_unchanged(parts[0], before)
    assert vars(parts[2]) == kept


def test_a_file_whose_best_epoch_does_not_fit_is_refused(tmp_path):
    from test_damaged_checkpoint import forged

    data, parts = NETWORK.data(numpy.float32, 40, 20), begin(optim.SGD)
    go_on(parts, data, fastbp.EarlyStopping(3))
    fastbp.save(tmp_path / "c", parts[0], history=parts[2])
    whole = (tmp_path / "c").read_bytes()
    damages = [
        lambda content, tensors: content["history"]["best"].update(epoch=1000),
        lambda content, tensors: content["history"]["best"].update(monitor="val_f1"),
        lambda content, tensors: content["history"]["best"].update(patience=0),
        lambda content, tensors: content["history"]["best"].update(before=-1),
        lambda content, tensors: content["history"].update(stopped_by="me"),
        lambda content, tensors: tensors.pop("best.0.weight"),
        lambda content, tensors: tensors.update({"last.0.weight": numpy.zeros(3, numpy.float32)}),
        lambda content, tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("best.")],
    ]
    for damage in damages:
        (tmp_path / "c").write_bytes(forged(whole, damage))
        with pytest.raises(fastbp.CheckpointError, match=re.escape(str(tmp_path / "c"))):
            fastbp.load(tmp_path / "c")


@pytest.mark.parametrize("opt_class", [optim.SGD, OwnSGD], ids=["engine", "module by module"])
def test_running_statistics_are_those_of_the_best_epoch_too(opt_class, dtype):
    x, target, *val = NETWORK.data(dtype, 40, 20)
    model = fastbp.nn.Sequential(
        fastbp.nn.Linear(4, 9, rng=0, dtype=dtype), fastbp.nn.BatchNorm1d(9, dtype=dtype),
        fastbp.nn.Linear(9, 3, rng=1, dtype=dtype),
    )  # fmt: skip
    opt, rule = opt_class(model.parameters(), lr=0.5), fastbp.EarlyStopping(3)
    history = fastbp.train_model(model, x, target, *val, fastbp.nn.MSELoss(), opt, 60, 8, early_stopping=rule)
    assert history.best_epoch < history.epochs
    assert fastbp.nn.MSELoss().evaluate(model.predict(val[0]), val[1]) == min(history["val_loss"])

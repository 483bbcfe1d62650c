"""A training with ``max_seconds`` stops at a finished mini-batch, and the same call goes on with the same bits."""

import time

import numpy
import pytest
from helpers import assert_unchanged, snapshot
from same_bits import Network, OwnSGD, assert_same_bits, outcome, train
from test_resume import SHUFFLED, continued

import fastbp
from fastbp import optim
from fastbp.engine import call_length

NETWORK = Network((4, 9, 3), ("Tanh", None))


@pytest.fixture(params=["engine", "module by module"])
def opt_class(request, monkeypatch):
    # The engine's calls are of one unit each, so that they may stop at any.
    monkeypatch.setattr(call_length, "CALL_SECONDS", 0.0)
    monkeypatch.setattr(call_length, "FIRST_FLOP", 0.0)
    return optim.SGD if request.param == "engine" else OwnSGD


@pytest.mark.parametrize("val", [None, 20, 500])
def test_the_same_call_goes_on_until_all_is_done(val, opt_class, dtype):
    data, model, history = NETWORK.data(dtype, 40, val), NETWORK.build(dtype), fastbp.History()
    opt, calls = opt_class(model.parameters(), lr=0.05), 0
    while history.stopped_by != "epochs":
        continued(model, data, opt, history, max_seconds=1e-9, **SHUFFLED)
        calls += 1
        assert history.stopped_by in ("max_seconds", "epochs")
        assert history.epochs * 6 + history.position.batches == calls
        assert history.position.batches < 6
    expected = train(NETWORK.build(dtype), data, 6, 7, by_modules=opt_class is OwnSGD, **SHUFFLED)
    assert_same_bits(expected, outcome(model, history))


def test_early_stopping_and_metrics_go_on_over_any_number_of_stops(opt_class, dtype):
    data, rule = NETWORK.data(dtype, 40, 20), fastbp.EarlyStopping(5)
    ends = []
    for options in ({}, {"max_seconds": 1e-9}):
        model, history = NETWORK.build(dtype), fastbp.History()
        opt = opt_class(model.parameters(), lr=1.3)
        while history.stopped_by not in ("epochs", "early_stopping"):
            continued(model, data, opt, history, 60, early_stopping=rule, metrics=["mae"], **options, **SHUFFLED)
        ends.append((outcome(model, history), history.best_epoch, history.stopped_by))
    (expected, *whole), (found, *stopped) = ends
    assert_same_bits(expected, found)
    assert whole == stopped


@pytest.mark.parametrize("kind", [optim.SGD, OwnSGD])
def test_a_long_training_stops_near_its_time(kind):
    data, model = NETWORK.data(numpy.float32, 4000), NETWORK.build(numpy.float32)
    start = time.perf_counter()
    history = continued(model, data, kind(model.parameters(), lr=0.01), None, 10**7, max_seconds=0.05)
    assert history.stopped_by == "max_seconds"
    assert 0.05 <= history.seconds <= time.perf_counter() - start < 5


def test_a_time_that_is_enough_changes_nothing(opt_class):
    data, model, history = NETWORK.data(numpy.float32, 40, 20), NETWORK.build(numpy.float32), fastbp.History()
    continued(model, data, opt_class(model.parameters(), lr=0.05), history, max_seconds=numpy.inf)
    assert history.stopped_by == "epochs"
    expected = train(NETWORK.build(numpy.float32), data, 6, 7, by_modules=opt_class is OwnSGD)
    assert_same_bits(expected, outcome(model, history))


@pytest.mark.parametrize("wrong", [0, -1.0, numpy.nan, "1", True, numpy.ones(1)], ids=repr)
def test_a_time_that_is_none_is_refused_before_anything_changes(wrong):
    data, model = NETWORK.data(numpy.float32, 40), NETWORK.build(numpy.float32)
    before = snapshot(model)
    with pytest.raises((TypeError, ValueError), match="train_model takes max_seconds"):
        continued(model, data, optim.SGD(model.parameters(), lr=0.05), None, max_seconds=wrong)
    assert_unchanged(model, before)

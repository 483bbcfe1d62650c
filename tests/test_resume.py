"""A training that stops and goes on ends with the bits of one that did not stop."""

import copy

import numpy
import pytest
from helpers import assert_unchanged, snapshot
from same_bits import Network, OwnSGD, assert_same_bits, outcome, train

import fastbp
from fastbp import nn, optim
from fastbp.engine import call_length
from fastbp.engine.session import Session

NETWORK = Network((4, 9, 3), ("Tanh", None))
SHUFFLED = {"shuffle": True, "rng": 5}


class Stop(Exception):
    """What a user's code raises."""


class StoppingSGD(OwnSGD):
    """Raises in place of its step number ``last``."""

    last = -1

    def step(self):
        self.last -= 1
        if self.last == -1:
            raise Stop
        super().step()


def at_epoch(last):
    def stop(history):
        if history.epochs == last:
            raise Stop

    return stop


def continued(model, data, opt, history, epochs=6, size=7, **options):
    return fastbp.train_model(model, *data, nn.MSELoss(), opt, epochs, size, history=history, **options)


@pytest.fixture(params=["engine", "modules"])
def by_modules(request):
    return request.param != "engine"


@pytest.mark.filterwarnings("ignore:this history already has 3 of 3 epochs")
@pytest.mark.parametrize("val", [None, 20])
@pytest.mark.parametrize("options", [{}, SHUFFLED], ids=["in order", "shuffled"])
def test_a_longer_training_goes_on_from_a_shorter_one(options, val, by_modules, dtype):
    data = NETWORK.data(dtype, 40, val)
    expected = train(NETWORK.build(dtype), data, 6, 7, by_modules=by_modules, **options)
    model, history = NETWORK.build(dtype), fastbp.History()
    opt = (OwnSGD if by_modules else optim.SGD)(model.parameters(), lr=0.05)
    for epochs in (0, 1, 3, 3, 6):
        assert continued(model, data, opt, history, epochs, **options) is history
        assert history.epochs == epochs
    assert_same_bits(expected, outcome(model, history))


@pytest.mark.filterwarnings("ignore:this history already has 6 of 6 epochs")
@pytest.mark.parametrize("last", [1, 2, 5, 6])
def test_a_progress_callback_that_raises_leaves_the_model_at_that_epoch(last, by_modules, dtype):
    data = NETWORK.data(dtype, 40, 20)
    model, history, rng = NETWORK.build(dtype), fastbp.History(), numpy.random.default_rng(5)
    opt = (OwnSGD if by_modules else optim.SGD)(model.parameters(), lr=0.05)
    with pytest.raises(Stop):
        continued(model, data, opt, history, shuffle=True, rng=rng, progress=at_epoch(last))
    shorter = train(NETWORK.build(dtype), data, last, 7, by_modules=by_modules, **SHUFFLED)
    assert_same_bits(shorter, outcome(model, history))
    drawn = numpy.random.default_rng(5)
    for _ in range(last):
        drawn.permutation(40)
    assert rng.bit_generator.state == drawn.bit_generator.state
    continued(model, data, opt, history, shuffle=True, rng=rng)
    whole = train(NETWORK.build(dtype), data, 6, 7, by_modules=by_modules, **SHUFFLED)
    assert_same_bits(whole, outcome(model, history))


@pytest.mark.parametrize("steps", [0, 1, 5, 6, 13, 35])
@pytest.mark.parametrize("finishes", ["engine", "modules"])
def test_a_training_that_stops_within_an_epoch_goes_on_there_either_way(steps, finishes, dtype):
    data = NETWORK.data(dtype, 40, 20)
    model, history, rng = NETWORK.build(dtype), fastbp.History(), numpy.random.default_rng(5)
    opt = StoppingSGD(model.parameters(), lr=0.05)
    opt.last = steps
    with pytest.raises(Stop):
        continued(model, data, opt, history, shuffle=True, rng=rng)
    assert (history.epochs, history.position.batches) == divmod(steps, 6)
    opt = (optim.SGD if finishes == "engine" else OwnSGD)(model.parameters(), lr=0.05)
    continued(model, data, opt, history, shuffle=True, rng=rng)
    assert history.backend == finishes
    assert_same_bits(train(NETWORK.build(dtype), data, 6, 7, **SHUFFLED), outcome(model, history))


@pytest.mark.parametrize("unit", range(0, 27, 2))
def test_the_engine_stops_at_any_unit_and_goes_on_there(unit, monkeypatch):
    """Four units of validation behind six of training: its blocks have 128 rows."""
    data = NETWORK.data(numpy.float32, 40, 500)
    expected = train(NETWORK.build(numpy.float32), data, 3, 7, **SHUFFLED)
    model, history, rng = NETWORK.build(numpy.float32), fastbp.History(), numpy.random.default_rng(5)
    opt, call, calls = optim.SGD(model.parameters(), lr=0.05), Session.call, []
    monkeypatch.setattr(call_length, "CALL_SECONDS", 0.0)
    monkeypatch.setattr(call_length, "FIRST_FLOP", 0.0)

    def limited(*arguments):
        if len(calls) == unit:
            raise Stop
        calls.append(None)
        call(*arguments)

    monkeypatch.setattr(Session, "call", limited)
    with pytest.raises(Stop):
        continued(model, data, opt, history, 3, shuffle=True, rng=rng)
    monkeypatch.setattr(Session, "call", call)
    assert (history.epochs, history.position.batches) == (unit // 10, min(unit % 10, 6))
    continued(model, data, opt, history, 3, shuffle=True, rng=rng)
    assert_same_bits(expected, outcome(model, history))
    assert rng.bit_generator.state == _after_orders(3)


def _after_orders(epochs):
    rng = numpy.random.default_rng(5)
    for _ in range(epochs):
        rng.permutation(40)
    return rng.bit_generator.state


def test_a_seed_given_again_goes_on_instead_of_starting_again():
    data = NETWORK.data(numpy.float32, 40)
    model, history = NETWORK.build(numpy.float32), fastbp.History()
    opt = optim.SGD(model.parameters(), lr=0.05)
    continued(model, data, opt, history, 2, **SHUFFLED)
    continued(model, data, opt, history, 4, shuffle=True, rng=None)
    continued(model, data, opt, history, 6, **SHUFFLED)
    assert_same_bits(train(NETWORK.build(numpy.float32), data, 6, 7, **SHUFFLED), outcome(model, history))


def test_the_seconds_of_all_parts_add_up():
    data = NETWORK.data(numpy.float32, 40)
    model, history = NETWORK.build(numpy.float32), fastbp.History()
    opt = optim.SGD(model.parameters(), lr=0.05)
    first = continued(model, data, opt, history, 1).seconds
    assert continued(model, data, opt, history, 2).seconds > first > 0


PHILOX = numpy.random.Generator(numpy.random.Philox(0))
MISFITS = {
    "rows": ({"n": 39}, r"training_rows 40, got 39"),
    "batch size": ({"size": 8}, r"mini_batch_size 7, got 8"),
    "shuffling": ({"shuffle": False}, r"shuffle True, got False"),
    "validation": ({"val": None}, r"recorded_series 3, got 1"),
    "epochs": ({"epochs": 1}, r"epochs, the total, of 2 or more .*got 1"),
    "generator": ({"rng": PHILOX}, r"rng of the history, a PCG64, got a Philox"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_history_of_another_training_is_refused_before_anything_changes(case, by_modules):
    replaced, match = MISFITS[case]
    arguments = {"n": 40, "val": 20, "size": 7, "epochs": 6, "shuffle": True, "rng": 5, **replaced}
    model, history = NETWORK.build(numpy.float32), fastbp.History()
    opt = (OwnSGD if by_modules else optim.SGD)(model.parameters(), lr=0.05)
    continued(model, NETWORK.data(numpy.float32, 40, 20), opt, history, 2, **SHUFFLED)
    before, kept = snapshot(model), copy.deepcopy(vars(history))
    data = NETWORK.data(numpy.float32, arguments.pop("n"), arguments.pop("val"))
    with pytest.raises(ValueError, match=match):
        continued(model, data, opt, history, **arguments)
    assert_unchanged(model, before)
    assert vars(history) == kept


def test_an_epoch_that_has_begun_counts_for_the_least_total():
    data = NETWORK.data(numpy.float32, 40)
    model, history = NETWORK.build(numpy.float32), fastbp.History()
    opt = StoppingSGD(model.parameters(), lr=0.05)
    opt.last = 8
    with pytest.raises(Stop):
        continued(model, data, opt, history)
    with pytest.raises(ValueError, match=r"epochs, the total, of 2 or more .*got 1"):
        continued(model, data, opt, history, 1)


def test_a_callback_sees_every_epoch_once_with_the_model_of_that_epoch(by_modules):
    data, model, seen = NETWORK.data(numpy.float32, 40, 20), NETWORK.build(numpy.float32), []
    opt = (OwnSGD if by_modules else optim.SGD)(model.parameters(), lr=0.05)

    def look(history):
        seen.append(history.epochs)
        assert history["val_loss"][-1] == nn.MSELoss().forward(model.predict(data[2]), data[3])

    continued(model, data, opt, fastbp.History(), progress=look)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_history_in_which_nothing_has_begun_takes_any_training():
    data, history = NETWORK.data(numpy.float32, 40), fastbp.History()
    model = NETWORK.build(numpy.float32)
    opt = StoppingSGD(model.parameters(), lr=0.05)
    opt.last = 0
    with pytest.raises(Stop):
        continued(model, data, opt, history, 6, 5, shuffle=True, rng=1)
    continued(model, data, opt, history, **SHUFFLED)
    assert_same_bits(train(NETWORK.build(numpy.float32), data, 6, 7, **SHUFFLED), outcome(model, history))


@pytest.mark.parametrize("wrong", [{}, "history", True], ids=repr)
def test_a_history_of_another_kind_is_refused(wrong):
    model = NETWORK.build(numpy.float32)
    before = snapshot(model)
    with pytest.raises(TypeError, match=rf"history as a fastbp.History, got {type(wrong).__name__}"):
        continued(model, NETWORK.data(numpy.float32, 40), optim.SGD(model.parameters(), lr=0.05), wrong)
    assert_unchanged(model, before)

"""A progress callback that returns True ends the training after that epoch."""

import copy

import numpy
import pytest
from same_bits import Network, OwnSGD, assert_same_bits, train
from test_resume import SHUFFLED, continued, outcome

import fastbp
from fastbp import optim

NETWORK = Network((4, 9, 3), ("Tanh", None))


@pytest.fixture(params=["engine", "module by module"])
def opt_class(request):
    return optim.SGD if request.param == "engine" else OwnSGD


def at_epoch(last, answer=True):
    return lambda history: history.epochs == last and answer


def begin(opt_class, dtype=numpy.float32):
    model = NETWORK.build(dtype)
    return model, opt_class(model.parameters(), lr=0.05), fastbp.History()


@pytest.mark.parametrize("answer", [True, numpy.True_], ids=["bool", "numpy"])
@pytest.mark.parametrize("val", [None, 20, 3000])
@pytest.mark.parametrize("last", [1, 3, 6])
def test_true_ends_the_training_after_that_epoch(last, val, answer, opt_class, dtype):
    data = NETWORK.data(dtype, 40, val)
    model, opt, history = begin(opt_class, dtype)
    rng = numpy.random.default_rng(5)
    options = {"shuffle": True, "rng": rng, "progress": at_epoch(last, answer)}
    assert continued(model, data, opt, history, **options) is history
    assert (history.epochs, history.position.batches) == (last, 0)
    expected = train(NETWORK.build(dtype), data, last, 7, by_modules=opt_class is OwnSGD, **SHUFFLED)
    assert_same_bits(expected, outcome(model, history))
    drawn = numpy.random.default_rng(5)
    for _ in range(last):
        drawn.permutation(40)
    assert rng.bit_generator.state == drawn.bit_generator.state


@pytest.mark.parametrize("last", [1, 5])
def test_the_same_call_goes_on_as_if_it_had_never_stopped(last, opt_class, dtype):
    data = NETWORK.data(dtype, 40, 20)
    model, opt, history = begin(opt_class, dtype)
    for _ in range(2):
        continued(model, data, opt, history, progress=at_epoch(last), **SHUFFLED)
    assert history.epochs == 6
    expected = train(NETWORK.build(dtype), data, 6, 7, by_modules=opt_class is OwnSGD, **SHUFFLED)
    assert_same_bits(expected, outcome(model, history))


def test_a_training_that_goes_on_may_be_stopped_again(opt_class):
    data, (model, opt, history) = NETWORK.data(numpy.float32, 40), begin(opt_class)
    for epochs in (1, 2, 3):
        continued(model, data, opt, history, progress=lambda history: True)
        assert history.epochs == epochs


@pytest.mark.parametrize("answer", [1, "stop", [True], numpy.ones(1, bool), 1.0, False, numpy.False_, None], ids=repr)
def test_any_other_answer_is_ignored(answer, opt_class):
    data, (model, opt, history) = NETWORK.data(numpy.float32, 40), begin(opt_class)
    assert continued(model, data, opt, history, progress=lambda history: answer).epochs == 6


def test_a_stopped_training_is_told_of_parameters_that_are_not_finite(opt_class):
    x, target, *_ = NETWORK.data(numpy.float32, 40)
    model = NETWORK.build(numpy.float32)
    opt = opt_class(model.parameters(), lr=3e38)
    with pytest.warns(fastbp.DivergenceWarning, match="the parameters became NaN or infinite in epoch 1"):
        continued(model, (x, 1e4 * target, None, None), opt, None, size=40, progress=lambda history: True)


def test_early_stopping_is_a_callback_of_a_few_lines(opt_class):
    data, (model, opt, history) = NETWORK.data(numpy.float32, 40, 20), begin(opt_class)
    best = {"val_loss": numpy.inf}

    def patience(history):
        if history["val_loss"][-1] < best["val_loss"]:
            best.update(val_loss=history["val_loss"][-1], epoch=history.epochs, state=copy.deepcopy(model.state_dict()))
        return history.epochs - best["epoch"] >= 3

    opt.lr = 3.0
    continued(model, data, opt, history, epochs=500, progress=patience, on_nonfinite="ignore")
    assert history.epochs == best["epoch"] + 3 < 500

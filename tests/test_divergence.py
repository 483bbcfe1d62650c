"""A loss that is not finite is told: where, and what may help."""

import warnings

import numpy
import pytest
from helpers import draw
from same_bits import Network, OwnSGD, train

import fastbp
from fastbp import nn, optim
from fastbp.engine import call_length

NETWORK = Network((4, 9, 3), ("ReLU", None))
WAYS = [False, True]


def spoilt(n, val, array, row):
    data = NETWORK.data(numpy.float32, n, val)
    data[array][row, 1] = numpy.nan
    return data


def told(data, *, by_modules, epochs=5, **options):
    """What the warning and the error say; the two are the same."""
    with pytest.warns(fastbp.DivergenceWarning) as caught:
        train(NETWORK.build(numpy.float32), data, epochs, 7, by_modules=by_modules, **options)
    assert len(caught) == 1, "once a training"
    assert caught[0].filename == train.__code__.co_filename, "the line that called train_model"
    with pytest.raises(fastbp.DivergenceError) as error:
        train(NETWORK.build(numpy.float32), data, epochs, 7, by_modules=by_modules, on_nonfinite="raise", **options)
    assert str(error.value) == str(caught[0].message)
    return error.value


@pytest.mark.parametrize("by_modules", WAYS)
@pytest.mark.parametrize(("row", "batch"), [(0, 1), (6, 1), (7, 2), (39, 6)])
def test_a_spoilt_row_is_told_with_its_epoch_and_mini_batch(row, batch, by_modules):
    error = told(spoilt(40, None, 0, row), by_modules=by_modules)
    assert (error.epoch, error.batch) == (1, batch)
    assert f"in epoch 1, mini-batch {batch}: train_input held NaN or infinity" in str(error)


@pytest.mark.parametrize("by_modules", WAYS)
@pytest.mark.parametrize(("array", "name"), [(2, "val_input"), (3, "val_target")])
def test_a_spoilt_validation_is_told(array, name, by_modules):
    error = told(spoilt(40, 300, array, 250), by_modules=by_modules)
    assert (error.epoch, error.batch) == (1, None)
    assert f"in epoch 1, validation: {name} held NaN or infinity" in str(error)


def test_both_ways_name_the_same_place_where_a_large_lr_diverges():
    data, errors = NETWORK.data(numpy.float32, 400, 30), []
    for by_modules in WAYS:
        errors.append(told(data, by_modules=by_modules, lr=60.0, epochs=40))
    assert str(errors[0]) == str(errors[1])
    assert (errors[0].epoch, errors[0].batch) > (1, 1)
    assert "the data are finite; try a smaller lr than 60" in str(errors[0])


@pytest.mark.parametrize("by_modules", WAYS)
def test_parameters_that_are_spoilt_from_the_start_are_told_apart(by_modules):
    model = NETWORK.build(numpy.float32)
    model[0].weight.data[0, 0] = numpy.inf
    with pytest.warns(fastbp.DivergenceWarning, match=r"before the first update; check the model's parameters"):
        train(model, NETWORK.data(numpy.float32, 40), 2, 7, by_modules=by_modules)


@pytest.mark.parametrize("by_modules", WAYS)
def test_the_last_update_is_told_though_nobody_computes_its_loss(by_modules):
    model, (x, target, *_) = NETWORK.build(numpy.float32), NETWORK.data(numpy.float32, 40)
    match = "the parameters became NaN or infinite in epoch 1, mini-batch 1"
    with pytest.warns(fastbp.DivergenceWarning, match=match):
        outcome = train(model, (x, 1e4 * target, None, None), 1, 40, by_modules=by_modules, lr=3e38)
    assert numpy.isfinite(outcome.history["train_loss"]).all()


@pytest.mark.parametrize("by_modules", WAYS)
def test_an_error_leaves_the_model_at_a_finished_mini_batch_and_holds_the_history(monkeypatch, by_modules):
    monkeypatch.setattr(call_length, "FIRST_FLOP", 0.0)
    monkeypatch.setattr(call_length, "CALL_SECONDS", 0.0)  # the engine looks after each compiled call
    model, history = NETWORK.build(numpy.float32), fastbp.History()
    opt = (OwnSGD if by_modules else optim.SGD)(model.parameters(), lr=0.05)
    data = spoilt(40, None, 0, 10)
    with pytest.raises(fastbp.DivergenceError) as error:
        fastbp.train_model(model, *data, nn.MSELoss(), opt, 3, 7, history=history, on_nonfinite="raise")
    assert error.value.history is history
    assert numpy.isnan(history.position.loss)
    assert history.epochs == 0
    other = NETWORK.build(numpy.float32)
    opt = optim.SGD(other.parameters(), lr=0.05)
    rows = 7 * history.position.batches
    fastbp.train_model(
        other, data[0][:rows], data[1][:rows], None, None, nn.MSELoss(), opt, 1, 7, on_nonfinite="ignore"
    )
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        numpy.testing.assert_array_equal(mine.data, theirs.data)


@pytest.mark.parametrize("by_modules", WAYS)
def test_ignore_tells_nothing(by_modules):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = train(
            NETWORK.build(numpy.float32), spoilt(40, 30, 0, 1), 2, 7, by_modules=by_modules, on_nonfinite="ignore"
        )
    assert numpy.isnan(outcome.history["train_loss"]).all()


@pytest.mark.parametrize("by_modules", WAYS)
def test_finite_losses_and_empty_validation_tell_nothing(by_modules):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(NETWORK.build(numpy.float32), NETWORK.data(numpy.float32, 40, 0), 2, 7, by_modules=by_modules)


@pytest.mark.parametrize("wrong", ["error", "", None, True, "Raise"])
def test_an_unknown_wish_names_the_known_ones(wrong):
    with pytest.raises(ValueError, match=r"on_nonfinite 'raise', 'warn' or 'ignore', got"):
        train(NETWORK.build(numpy.float32), NETWORK.data(numpy.float32, 40), 1, 7, on_nonfinite=wrong)


def test_a_loss_of_the_users_own_is_watched_too():
    class Loss:
        def forward(self, prediction, target):
            self.grad = numpy.ones_like(prediction)
            return numpy.float32(numpy.inf)

        def backward(self):
            return self.grad

    model = NETWORK.build(numpy.float32)
    x, target = draw((10, 4), numpy.float32), draw((10, 3), numpy.float32)
    opt = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(fastbp.DivergenceError, match="in epoch 1, mini-batch 1"):
        fastbp.train_model(model, x, target, None, None, Loss(), opt, 1, 5, on_nonfinite="raise")

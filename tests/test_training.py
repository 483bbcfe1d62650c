"""train_model against torch, the oracle and the same steps written out in Python."""

import numpy
import oracles
import pytest
import torch
from helpers import ACTIVATIONS, assert_same_parameters, draw, mlp, oracle_network, snapshot, tensor, twin

import fastbp
from fastbp import nn, optim

LR = 0.01


def task(dtype, n=23, n_val=11):
    """Inputs of 4 features and one-hot targets of 3 classes, for training and validation."""

    def rows(count, seed):
        return draw((count, 4), dtype, seed), numpy.eye(3, dtype=dtype)[numpy.arange(count) % 3]

    return *rows(n, 1), *rows(n_val, 2)


def train(model, data, reduction="sum", epochs=3, mini_batch_size=5, **options):
    opt = optim.SGD(model.parameters(), lr=LR)
    return fastbp.train_model(model, *data, nn.MSELoss(reduction=reduction), opt, epochs, mini_batch_size, **options)


def steps_in_python(model, data, reduction, orders, mini_batch_size):
    """The library's own modules called one by one; the order of the rows is given for each epoch."""
    x, target, val_x, val_target = data
    criterion, opt = nn.MSELoss(reduction=reduction), optim.SGD(model.parameters(), lr=LR)
    history, full = {name: [] for name in fastbp.History()}, mini_batch_size if reduction == "mean" else 1
    for order in orders:
        total = weighted = 0.0
        for start in range(0, len(x), mini_batch_size):
            rows = order[start : start + mini_batch_size]
            loss = criterion(model(x[rows]), target[rows])
            total += loss
            weighted += loss * (len(rows) / full if reduction == "mean" else 1)
            opt.zero_grad()
            model.backward(criterion.backward())
            opt.step()
        history["train_loss"].append(total)
        history["train_loss_mean"].append(weighted / (len(x) / full))
        prediction = model.predict(val_x)
        history["val_loss"].append(criterion(prediction, val_target))
        history["val_loss_mean"].append(history["val_loss"][-1] / (1 if reduction == "mean" else len(val_x)))
        history["val_accuracy"].append(fastbp.compute_accuracy(model, val_x, val_target))
    return history


def steps_in_torch(module, data, reduction, epochs, mini_batch_size):
    x, target, val_x, val_target = map(tensor, data)
    criterion, opt = torch.nn.MSELoss(reduction=reduction), torch.optim.SGD(module.parameters(), lr=LR)
    history = {name: [] for name in fastbp.History()}
    for _ in range(epochs):
        losses, summed = [], []
        for rows, targets in zip(x.split(mini_batch_size), target.split(mini_batch_size), strict=True):
            loss = criterion(module(rows), targets)
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
            summed.append(loss.item() * (len(rows) if reduction == "mean" else 1))
        history["train_loss"].append(sum(losses))
        history["train_loss_mean"].append(sum(summed) / len(x))
        with torch.no_grad():
            prediction = module(val_x)
        history["val_loss"].append(criterion(prediction, val_target).item())
        history["val_loss_mean"].append(history["val_loss"][-1] / (1 if reduction == "mean" else len(val_x)))
        history["val_accuracy"].append((prediction.argmax(1) == val_target.argmax(1)).double().mean().item())
    return history


def assert_history(history, expected, rel):
    assert set(history.keys()) == set(expected.keys())
    for name, values in expected.items():
        assert history[name] == pytest.approx(values, rel=rel, abs=0), name


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_training_equals_torch(activation, reduction, dtype):
    model, data = mlp(4, 9, 6, 3, activation=activation, dtype=dtype), task(dtype)
    other = twin(model)
    history = train(model, data, reduction)
    assert_history(history, steps_in_torch(other, data, reduction, 3, 5), rel=1e-6 if dtype is numpy.float32 else 1e-12)
    assert_same_parameters(model, other)


@pytest.mark.parametrize("mini_batch_size", [5, 23, 1, 100])
def test_a_training_agrees_with_the_oracle(reduction, mini_batch_size):
    model, data = mlp(4, 6, 3, activation="Tanh", dtype=numpy.float64), task(numpy.float64)
    network, expected = oracles.train(
        oracle_network(model),
        data[:2],
        data[2:],
        reduction=reduction,
        lr=LR,
        epochs=2,
        mini_batch_size=mini_batch_size,
    )
    history = train(model, data, reduction, 2, mini_batch_size)
    assert_history(history, expected, rel=1e-12)
    for layer, (weight, bias) in [(model[0], network[0]), (model[2], network[2])]:
        numpy.testing.assert_allclose(layer.weight.data, weight, rtol=1e-12, atol=1e-14)
        numpy.testing.assert_allclose(layer.bias.data, bias, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("widths", [(4, 3), (4, 25, 25, 3), (4, 1, 17, 3), (4, 33, 3)], ids=str)
def test_module_by_module_in_python_gives_the_same_bits(widths, reduction, dtype):
    one, two, data = mlp(*widths, dtype=dtype), mlp(*widths, dtype=dtype), task(dtype)
    history = train(one, data, reduction, epochs=4)
    expected = steps_in_python(two, data, reduction, [numpy.arange(23)] * 4, 5)
    assert dict(history) == expected
    for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
        numpy.testing.assert_array_equal(mine.data, theirs.data)


def test_shuffled_epochs_take_the_rows_in_the_orders_of_the_generator(dtype):
    one, two, data = mlp(4, 9, 3, dtype=dtype), mlp(4, 9, 3, dtype=dtype), task(dtype)
    history = train(one, data, epochs=3, shuffle=True, rng=5)
    rng = numpy.random.default_rng(5)
    assert dict(history) == steps_in_python(two, data, "sum", [rng.permutation(23) for _ in range(3)], 5)


def test_last_short_batch_counts_like_any_other(reduction):
    data = task(numpy.float64, n=7)
    x, target = data[:2]
    model, layer = mlp(4, 3, dtype=numpy.float64), mlp(4, 3, dtype=numpy.float64)[0]
    criterion, opt = nn.MSELoss(reduction=reduction), optim.SGD(layer.parameters(), lr=LR)
    losses = []
    for start, stop in [(0, 3), (3, 6), (6, 7)]:
        losses.append(criterion(layer(x[start:stop]), target[start:stop]))
        layer.zero_grad()
        layer.backward(criterion.backward())
        opt.step()
    assert train(model, data, reduction, 1, 3)["train_loss"] == [pytest.approx(sum(losses), rel=1e-15)]
    numpy.testing.assert_array_equal(model[0].weight.data, layer.weight.data)


def test_a_batch_larger_than_the_data_is_one_batch(dtype):
    one, two, data = mlp(4, 9, 3, dtype=dtype), mlp(4, 9, 3, dtype=dtype), task(dtype)
    assert dict(train(one, data, mini_batch_size=23)) == dict(train(two, data, mini_batch_size=10**6))


def test_validation_does_not_change_the_training(dtype):
    one, two, data = mlp(4, 9, 3, dtype=dtype), mlp(4, 9, 3, dtype=dtype), task(dtype)
    without = train(one, (*data[:2], None, None), shuffle=True, rng=0)
    assert without["train_loss"] == train(two, data, shuffle=True, rng=0)["train_loss"]
    assert without["val_loss"] == without["val_accuracy"] == []
    numpy.testing.assert_array_equal(one[0].weight.data, two[0].weight.data)


def test_two_epochs_are_one_epoch_twice(dtype):
    one, two, data = mlp(4, 9, 3, dtype=dtype), mlp(4, 9, 3, dtype=dtype), task(dtype)
    together = train(one, data, epochs=2)
    apart = [train(two, data, epochs=1) for _ in range(2)]
    for name in together:
        assert together[name] == [value for history in apart for value in history[name]]


@pytest.mark.parametrize("epochs", [0, 1, 4])
def test_exactly_as_many_epochs_are_run_as_asked_for(epochs):
    class CountingSGD(optim.SGD):
        steps = 0

        def step(self):
            self.steps += 1
            super().step()

    model, data = mlp(4, 9, 3), task(numpy.float32)
    opt = CountingSGD(model.parameters(), lr=LR)
    history = fastbp.train_model(model, *data, nn.MSELoss(), opt, epochs, 5)
    assert opt.steps == 5 * epochs
    assert [len(values) for values in history.values()] == [epochs] * 5


def test_zero_epochs_change_nothing():
    model, data = mlp(4, 9, 3), task(numpy.float32)
    before = snapshot(model)
    train(model, data, epochs=0)
    for name, (value, _) in snapshot(model).items():
        numpy.testing.assert_array_equal(value, before[name][0])


def test_gradients_left_from_before_do_not_enter_the_training(dtype):
    one, two, data = mlp(4, 9, 3, dtype=dtype), mlp(4, 9, 3, dtype=dtype), task(dtype)
    for parameter in two.parameters():
        parameter.grad = numpy.full_like(parameter.data, 1e3)
    assert dict(train(one, data)) == dict(train(two, data))


def test_parameters_outside_the_optimiser_stay_as_they_are(dtype):
    model, data = mlp(4, 9, 3, dtype=dtype), task(dtype)
    before = snapshot(model)
    opt = optim.SGD(model[2].parameters(), lr=LR)
    fastbp.train_model(model, *data, nn.MSELoss(), opt, 2, 5)
    for name, (value, _) in snapshot(model).items():
        assert numpy.array_equal(value, before[name][0]) == name.startswith("0."), name


def test_the_data_are_left_as_they_are_and_may_be_read_only(dtype):
    data = task(dtype)
    for array in data:
        array.flags.writeable = False
    history = train(mlp(4, 9, 3, dtype=dtype), data, shuffle=True, rng=0)
    assert dict(history) == dict(train(mlp(4, 9, 3, dtype=dtype), task(dtype), shuffle=True, rng=0))


def test_data_in_fortran_order_give_the_same_bits(dtype):
    data = task(dtype)
    other = tuple(numpy.asfortranarray(array) for array in data)
    assert dict(train(mlp(4, 9, 3, dtype=dtype), data)) == dict(train(mlp(4, 9, 3, dtype=dtype), other))


def test_a_diverged_training_shows_nan_instead_of_raising():
    model, data = mlp(4, 9, 3), task(numpy.float32)
    opt = optim.SGD(model.parameters(), lr=1e30)
    with pytest.warns(fastbp.DivergenceWarning):
        history = fastbp.train_model(model, *data, nn.MSELoss(), opt, 3, 5)
    assert numpy.isnan(history["train_loss"][-1])
    assert numpy.isnan(history["val_loss"][-1])


def test_targets_that_are_not_one_hot_have_a_loss_but_no_accuracy(dtype):
    data = tuple(draw((n, width), dtype) for n, width in [(20, 4), (20, 3), (10, 4), (10, 3)])
    history = train(mlp(4, 9, 3, dtype=dtype), data)
    assert len(history["val_loss"]) == 3
    assert history["val_accuracy"] == []


def test_accuracy_is_the_share_of_rows_whose_largest_output_is_the_targets():
    model = nn.Sequential(nn.ReLU())
    outputs = numpy.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], numpy.float32)
    targets = numpy.eye(2, dtype=numpy.float32)[[0, 1, 1, 1]]
    assert fastbp.compute_accuracy(model, outputs, targets) == 0.75
    assert fastbp.compute_accuracy(model, outputs, targets[:, ::-1]) == 0.25
    assert oracles.accuracy(outputs, targets) == 0.75


def test_the_network_of_the_original_learns_the_disk():
    rng = numpy.random.default_rng(0)
    data = (*fastbp.datasets.disk(1000, rng), *fastbp.datasets.disk(1000, rng))
    model = mlp(2, 25, 25, 25, 2)
    opt = optim.SGD(model.parameters(), lr=1e-3)
    history = fastbp.train_model(model, *data, nn.MSELoss(reduction="sum"), opt, 200, 50)
    assert history["val_accuracy"][-1] > 0.93
    assert history["train_loss"][-1] < history["train_loss"][0] / 4

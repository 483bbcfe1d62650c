"""The order in which train_model takes the rows."""

import numpy
import pytest
import torch
from helpers import assert_same_gradients, assert_same_parameters, draw, mlp, tensor, twin
from same_bits import OwnSGD
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

import fastbp
from fastbp import nn, optim


class Recorder(nn.Module):
    """Lets everything through and keeps the first column of every batch."""

    def __init__(self):
        self.batches = []

    def forward(self, input):
        self.batches.append(input[:, 0].copy())
        return input

    def backward(self, grad_output):
        return grad_output

    def predict(self, input):
        return input.copy()


def record(n, epochs, mini_batch_size, **options):
    """The rows in the order of each epoch's batches, and the lengths of the batches."""
    recorder, layer = Recorder(), nn.Linear(2, 2, rng=0)
    model, x = nn.Sequential(recorder, layer), draw((n, 2), numpy.float32)
    x[:, 0] = numpy.arange(n)
    opt = optim.SGD(model.parameters(), lr=0)
    fastbp.train_model(model, x, x, None, None, nn.MSELoss(), opt, epochs, mini_batch_size, **options)
    lengths = [len(batch) for batch in recorder.batches]
    return numpy.concatenate(recorder.batches).reshape(epochs, n), lengths


def test_rows_come_in_order_unless_shuffled():
    orders, lengths = record(17, 2, 5)
    numpy.testing.assert_array_equal(orders, [numpy.arange(17)] * 2)
    assert lengths == [5, 5, 5, 2] * 2


def test_each_shuffled_epoch_takes_every_row_once_in_another_order():
    orders, lengths = record(17, 4, 5, shuffle=True, rng=0)
    numpy.testing.assert_array_equal(numpy.sort(orders), [numpy.arange(17)] * 4)
    assert len({tuple(order) for order in [numpy.arange(17), *orders]}) == 5
    assert lengths == [5, 5, 5, 2] * 4


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_is_a_generator_of_that_seed(seed):
    by_seed, _ = record(17, 3, 5, shuffle=True, rng=seed)
    by_generator, _ = record(17, 3, 5, shuffle=True, rng=numpy.random.default_rng(seed))
    numpy.testing.assert_array_equal(by_seed, by_generator)


def test_another_seed_and_no_seed_give_other_orders():
    orders = [record(17, 1, 5, shuffle=True, rng=rng)[0] for rng in (0, 1, None, None)]
    assert len({tuple(order.ravel()) for order in orders}) == 4


def test_one_generator_goes_on_from_call_to_call():
    rng = numpy.random.default_rng(0)
    apart = numpy.concatenate([record(17, 1, 5, shuffle=True, rng=rng)[0] for _ in range(3)])
    together, _ = record(17, 3, 5, shuffle=True, rng=0)
    numpy.testing.assert_array_equal(apart, together)


def test_a_shuffled_run_repeats_from_its_seed_bit_for_bit(dtype):
    histories, weights = [], []
    for _ in range(2):
        layer, x = nn.Linear(4, 3, rng=0, dtype=dtype), draw((23, 4), dtype)
        opt = optim.SGD(layer.parameters(), lr=0.01)
        target = draw((23, 3), dtype, seed=1)
        args = (x, target, x, target, nn.MSELoss(), opt, 5, 4)
        histories.append(dict(fastbp.train_model(layer, *args, shuffle=True, rng=3)))
        weights.append(layer.weight.data)
    assert histories[0] == histories[1]
    numpy.testing.assert_array_equal(*weights)


class Handed(numpy.random.Generator):
    """A source of orders that were drawn elsewhere."""

    def __init__(self, orders):
        super().__init__(numpy.random.PCG64(0))
        self.orders = iter(orders)

    def permutation(self, n):
        order = next(self.orders)
        assert len(order) == n
        return order


@pytest.mark.parametrize("opt_class", [optim.SGD, OwnSGD], ids=["engine", "modules"])
def test_torch_handed_our_orders_and_we_handed_torchs_train_alike(opt_class, dtype):
    rng, epochs = numpy.random.default_rng(3), 5
    ours = [rng.permutation(23) for _ in range(epochs)]
    sampler = RandomSampler(range(23), generator=torch.Generator().manual_seed(3))
    theirs = [numpy.array(list(sampler)) for _ in range(epochs)]
    x, target = draw((23, 4), dtype), draw((23, 3), dtype, seed=1)
    for orders, source in ((ours, 3), (theirs, Handed(theirs))):
        model = mlp(4, 9, 3, activation="Tanh", dtype=dtype)
        other = twin(model)
        opt = opt_class(model.parameters(), lr=0.05)
        fastbp.train_model(model, x, target, None, None, nn.MSELoss(), opt, epochs, 5, shuffle=True, rng=source)
        sgd = torch.optim.SGD(other.parameters(), lr=0.05)
        for order in orders:
            rows = TensorDataset(tensor(x), tensor(target))
            for batch, expected in DataLoader(rows, batch_size=5, sampler=order.tolist()):
                sgd.zero_grad()
                torch.nn.functional.mse_loss(other(batch), expected).backward()
                sgd.step()
        assert_same_parameters(model, other)
        if dtype is numpy.float64:
            assert_same_gradients(model, other)

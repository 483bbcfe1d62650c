"""Predictions by the engine: any shape, the bits of the modules one by one, and never by a network of yesterday."""

import copy
import tracemalloc

import numpy
import pytest
from helpers import draw, mlp
from same_bits import Network

from fastbp import nn

NETWORKS = [
    Network((4, 3), (None,)),
    Network((4, 25, 16, 3), ("ReLU", "Tanh", None)),
    Network((4, 33, 300, 2), ("Sigmoid", "ReLU", "Sigmoid"), bias=False),
    Network((4, 8, 8, 5), (None, "Tanh", "Tanh")),
    Network((4, 8, 1), ("Tanh", "ReLU")),
]


def one_by_one(model, x):
    for module in model:
        x = module.predict(x)
    return x


@pytest.mark.parametrize("network", NETWORKS)
def test_a_prediction_has_the_bits_of_the_modules_one_by_one(network, dtype):
    model = network.build(dtype)
    for n in (0, 1, 2, 15, 16, 17, 100, 511, 512, 513, 1200):
        x = draw((n, 4), dtype, seed=n)
        numpy.testing.assert_array_equal(model.predict(x), one_by_one(model, x))
        numpy.testing.assert_array_equal(model.predict(x), model.forward(x))


@pytest.mark.parametrize("shape", [(4,), (0, 4), (1, 4), (3, 5, 4), (2, 0, 4), (2, 3, 2, 4)])
def test_a_prediction_keeps_the_leading_dimensions(shape, dtype):
    model, x = NETWORKS[1].build(dtype), draw(shape, dtype)
    prediction = model.predict(x)
    assert prediction.shape == (*shape[:-1], 3)
    numpy.testing.assert_array_equal(prediction.reshape(-1, 3), one_by_one(model, x.reshape(-1, 4)))


def test_a_row_is_predicted_alike_alone_and_in_any_batch(dtype):
    model, x = NETWORKS[1].build(dtype), draw((600, 4), dtype)
    whole = model.predict(x)
    for start, stop in [(0, 1), (5, 6), (599, 600), (0, 10), (3, 14), (20, 533)]:
        numpy.testing.assert_array_equal(model.predict(x[start:stop]), whole[start:stop])


def test_nan_in_one_row_stays_there(dtype):
    model, x = NETWORKS[1].build(dtype), draw((40, 4), dtype)
    expected = model.predict(x)
    x[17, 2] = numpy.nan
    actual = model.predict(x)
    assert numpy.isnan(actual[17]).all()
    numpy.testing.assert_array_equal(numpy.delete(actual, 17, axis=0), numpy.delete(expected, 17, axis=0))


def built_into_another(model):
    return nn.Sequential(nn.Linear(9, 4, rng=5), model)


def built_in_part_into_another(model):
    return nn.Sequential(model[2], nn.Linear(3, 3, rng=5))


def given_another_weight(model):
    model[0].weight = nn.Parameter(draw((5, 4), numpy.float32, seed=8))


def given_the_bias_of_another(model):
    model[2].bias = nn.Linear(4, 3, rng=9).bias


def rid_of_a_bias(model):
    model[0].bias = None


def loaded(model):
    model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})


def written_to(model):
    model[0].weight.data[...] += 1
    model[2].bias.data = numpy.ones(3, numpy.float32)


CHANGES = [
    built_into_another, built_in_part_into_another, given_another_weight, given_the_bias_of_another, rid_of_a_bias,
    loaded, written_to,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_prediction_is_that_of_the_model_as_it_is_now(change):
    model, x = mlp(4, 5, 3), draw((7, 4), numpy.float32)
    before = model.predict(x)
    kept = change(model)
    if kept is None:
        assert not numpy.array_equal(model.predict(x), before)
    else:  # the same parameters at another place
        for parameter in kept.parameters():
            parameter.data[...] += 1
        assert not numpy.array_equal(model.predict(x), before)
    numpy.testing.assert_array_equal(model.predict(x), one_by_one(model, x))


def test_a_copy_predicts_by_its_own_parameters():
    model, x = mlp(4, 5, 3), draw((7, 4), numpy.float32)
    before = model.predict(x)
    other = copy.deepcopy(model)
    other[0].weight.data[...] += 1
    assert not numpy.array_equal(other.predict(x), before)
    numpy.testing.assert_array_equal(model.predict(x), before)


def test_a_single_row_costs_no_large_array():
    """Scratch memory is kept from call to call."""
    model, x = NETWORKS[1].build(numpy.float32), draw((1, 4), numpy.float32)
    model.predict(x)
    tracemalloc.start()
    for _ in range(10):
        model.predict(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000

"""Dropout: what it drops, when, and that it repeats."""

import numpy
import pytest
import torch
from helpers import draw
from layers import OwnLoss, assert_same_bits, network, trained

import fastbp
from fastbp import nn, optim


@pytest.mark.parametrize("kind", [nn.Dropout, nn.AlphaDropout])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_drops_with_its_probability(kind, p):
    input = numpy.ones((400, 250))
    output = kind(p, rng=1)(input)
    values, counts = numpy.unique(output, return_counts=True)
    assert len(values) == (2 if p else 1)
    if p:
        dropped = counts[0 if values[0] < values[1] else 1]
        assert abs(dropped - p * input.size) < 5 * numpy.sqrt(input.size * p * (1 - p))
    if kind is nn.Dropout:
        assert abs(output.mean() - 1) < 0.02


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_alpha_dropout_has_the_two_values_of_torch(p):
    ours = nn.AlphaDropout(p, rng=1)(numpy.ones((50, 50)))
    theirs = torch.nn.AlphaDropout(p)(torch.ones(50, 50, dtype=torch.float64)).numpy()
    numpy.testing.assert_allclose(numpy.unique(ours), numpy.unique(theirs.round(12)), rtol=1e-9)


def test_decisions_of_dropout_differ_between_forwards_rows_features_and_seeds():
    input = numpy.ones((64, 64))
    dropout, other = nn.Dropout(rng=1), nn.Dropout(rng=2)
    first, second = dropout(input).copy(), dropout(input).copy()
    for one, two in ((first, second), (first, other(input)), (first, first.T), (first[:-1], first[1:])):
        assert 0.4 < (one == two).mean() < 0.6


def test_backward_of_dropout_drops_what_forward_dropped():
    dropout, input = nn.Dropout(0.3, rng=1), numpy.ones((20, 30))
    output = dropout(input).copy()
    assert dropout.backward(input).tobytes() == output.tobytes()


def test_dropout_passes_what_it_is_given_after_eval_and_in_predict():
    dropout, input = nn.Dropout(0.3, rng=1), draw((20, 30), numpy.float32)
    assert dropout.predict(input).tobytes() == input.tobytes()
    assert dropout.forwards == 0
    assert dropout.eval()(input).tobytes() == input.tobytes()
    assert dropout.backward(input).tobytes() == input.tobytes()
    assert dropout.train()(input).tobytes() != input.tobytes()


def test_dropout_in_eval_mode_is_trained_through_as_it_is():
    model, other = network("two dropouts", numpy.float64).eval(), network("two dropouts", numpy.float64)
    for module in other:
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    trained(model, nn.MSELoss(), 63, 20, optim.SGD)
    trained(other, nn.MSELoss(), 63, 20, optim.SGD)
    assert_same_bits(model, other)


def test_seeded_dropout_repeats_and_goes_on_where_it_was():
    model, other = network("two dropouts", numpy.float32), network("two dropouts", numpy.float32)
    trained(model, nn.MSELoss(), 63, 20, optim.SGD)
    assert [module.forwards for module in model if isinstance(module, nn.Dropout)] == [8, 8]
    trained(other, nn.MSELoss(), 63, 20, optim.SGD)
    assert_same_bits(model, other)


def test_a_seed_that_is_set_between_trainings_is_what_the_engine_drops_by():
    model, other = network("two dropouts", numpy.float32), network("two dropouts", numpy.float32)
    trained(model, nn.MSELoss(), 63, 20, optim.SGD)
    trained(other, OwnLoss(), 63, 20, optim.SGD)
    for each in (model, other):
        for module in each:
            if isinstance(module, nn.Dropout):
                module.seed = 5
    assert trained(model, nn.MSELoss(), 63, 20, optim.SGD).backend == "engine"
    assert trained(other, OwnLoss(), 63, 20, optim.SGD).backend == "modules"
    assert_same_bits(model, other)


class OwnNetwork(nn.Sequential):
    """A file holds no network for it."""

    def forward(self, input):
        return super().forward(input)


@pytest.mark.parametrize("kind", [nn.Sequential, OwnNetwork])
def test_a_model_that_is_filled_from_a_file_drops_what_the_saved_one_would_have_dropped(kind, tmp_path):
    model, other = (kind(*network("two dropouts", numpy.float32)) for _ in range(2))
    trained(model, nn.MSELoss(), 63, 20, optim.SGD)
    fastbp.save(tmp_path / "c", model)
    assert fastbp.load(tmp_path / "c", other).model is other
    for each in (model, other):
        trained(each, nn.MSELoss(), 63, 20, optim.SGD)
    assert_same_bits(model, other)

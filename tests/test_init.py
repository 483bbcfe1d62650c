"""Initialisers: the distributions that their docstrings name, from a seed, and PyTorch's default."""

import math

import numpy
import pytest
import torch
from distributions import assert_distributed, normal, uniform

from fastbp import nn
from fastbp.nn import init

OUT, IN = 600, 240  # unequal, so that a mistaken fan shows; 144,000 draws


DOCUMENTED = {
    "xavier_normal": normal(math.sqrt(2 / (IN + OUT))),
    "xavier_uniform": uniform(math.sqrt(6 / (IN + OUT))),
    "kaiming_normal": normal(math.sqrt(2 / IN)),
    "kaiming_uniform": uniform(math.sqrt(6 / IN)),
    "default": uniform(1 / math.sqrt(IN)),
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_weights_are_distributed_as_documented(name, dtype):
    weight = nn.Linear(IN, OUT, init=name, rng=0, dtype=dtype).weight.data
    assert weight.dtype == dtype
    assert_distributed(weight, DOCUMENTED[name])


@pytest.mark.parametrize("scale", [0.97, 1.03])
@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_scale_off_by_three_percent_would_show(name, scale):
    weight = nn.Linear(IN, OUT, init=name, rng=0).weight.data
    with pytest.raises(AssertionError):
        assert_distributed(weight * scale, DOCUMENTED[name])


@pytest.mark.parametrize("name", ["xavier_normal", "xavier_uniform", "kaiming_normal", "kaiming_uniform"])
def test_gain_scales_every_weight(name):
    factory = getattr(init, name)
    one, three = (nn.Linear(IN, OUT, init=factory(gain=gain), rng=0).weight.data for gain in (1.0, 3.0))
    numpy.testing.assert_allclose(three, 3 * one, rtol=1e-6)


def test_a_gain_of_one_is_the_default_of_xavier_and_root_two_of_kaiming():
    gains = {"xavier_normal": 1, "xavier_uniform": 1, "kaiming_normal": 2**0.5, "kaiming_uniform": 2**0.5}
    for name, gain in gains.items():
        explicit = nn.Linear(IN, OUT, init=getattr(init, name)(gain=gain), rng=0).weight.data
        for other in (name, getattr(init, name)()):
            numpy.testing.assert_array_equal(nn.Linear(IN, OUT, init=other, rng=0).weight.data, explicit)


@pytest.mark.parametrize("nonlinearity", ["linear", "tanh", "relu", "sigmoid"])
def test_gains_are_those_of_torch(nonlinearity):
    assert init.gain(nonlinearity) == pytest.approx(torch.nn.init.calculate_gain(nonlinearity), rel=1e-15)


FACTORIES = ["xavier_normal", "xavier_uniform", "kaiming_normal", "kaiming_uniform"]


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize(
    "wrong", [nn.Linear(5, 3).weight, numpy.ones((3, 5)), None, True, "relu"], ids=lambda wrong: type(wrong).__name__
)
def test_a_gain_that_is_no_number_names_both_ways_to_initialise(name, wrong):
    match = (
        rf"nn\.init\.{name} takes gain as a number and returns an initialiser, got {type(wrong).__name__}; "
        rf'pass init="{name}" to Linear, or fill .* nn\.init\.{name}_\('
    )
    with pytest.raises(TypeError, match=match):
        getattr(init, name)(wrong)


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("gain", [-1, math.nan, math.inf, 10**400], ids=["-1", "nan", "inf", "beyond all floats"])
def test_a_gain_below_zero_or_not_finite_is_refused(name, gain):
    with pytest.raises(ValueError, match=rf"nn\.init\.{name} takes a finite gain of 0 or more, got"):
        getattr(init, name)(gain)


@pytest.mark.parametrize("name", FACTORIES)
def test_an_initialiser_that_still_wants_its_gain_is_refused_by_linear(name):
    with pytest.raises(TypeError, match=rf"Linear takes .*init=nn\.init\.{name}\(\)"):
        nn.Linear(5, 3, init=getattr(init, name))


def test_the_originals_initialisation_for_tanh_has_its_standard_deviation():
    weight = nn.Linear(IN, OUT, init=init.xavier_normal(gain=init.gain("tanh")), rng=0).weight.data
    assert_distributed(weight, normal(5 / 3 * math.sqrt(2 / (IN + OUT))))


def test_the_default_draws_weight_and_bias_from_the_distribution_of_torch():
    torch.manual_seed(0)
    mine, theirs = nn.Linear(4, 20_000, rng=0), torch.nn.Linear(4, 20_000)
    for one, two in [(mine.weight.data, theirs.weight), (mine.bias.data, theirs.bias)]:
        two = two.detach().numpy()
        for sample in (one, two):
            assert_distributed(sample, uniform(0.5))
            assert numpy.abs(sample).max() == pytest.approx(0.5, rel=1e-3)
            assert numpy.abs(sample).max() <= 0.5


def test_none_and_default_are_the_same_initialisation():
    for init_argument in (None, "default"):
        layer = nn.Linear(5, 3, init=init_argument, rng=4)
        numpy.testing.assert_array_equal(layer.weight.data, nn.Linear(5, 3, rng=4).weight.data)
        numpy.testing.assert_array_equal(layer.bias.data, nn.Linear(5, 3, rng=4).bias.data)


@pytest.mark.parametrize("name", ["xavier_normal", "xavier_uniform", "kaiming_normal", "kaiming_uniform", "zeros"])
def test_a_named_initialiser_leaves_the_bias_zero(name):
    layer = nn.Linear(5, 3, init=name, rng=0)
    assert not layer.bias.data.any()
    assert layer.weight.data.any() == (name != "zeros")


def test_a_callable_initialises_the_weight():
    def eye(shape, rng, dtype):
        return numpy.eye(*shape, dtype=dtype)

    layer = nn.Linear(5, 3, init=eye)
    numpy.testing.assert_array_equal(layer.weight.data, numpy.eye(3, 5))
    assert not layer.bias.data.any()


@pytest.mark.parametrize("name", [*DOCUMENTED, None])
def test_a_seed_repeats_bit_for_bit_and_another_seed_does_not(name, dtype):
    first, again, other = (nn.Linear(5, 3, init=name, rng=seed, dtype=dtype) for seed in (7, 7, 8))
    numpy.testing.assert_array_equal(first.weight.data, again.weight.data)
    numpy.testing.assert_array_equal(first.bias.data, again.bias.data)
    assert not numpy.array_equal(first.weight.data, other.weight.data)


def test_a_seed_is_a_generator_of_that_seed():
    one, two = nn.Linear(5, 3, rng=7), nn.Linear(5, 3, rng=numpy.random.default_rng(7))
    numpy.testing.assert_array_equal(one.weight.data, two.weight.data)


def test_layers_drawn_from_one_generator_differ():
    rng = numpy.random.default_rng(7)
    one, two = nn.Linear(5, 3, rng=rng), nn.Linear(5, 3, rng=rng)
    assert not numpy.array_equal(one.weight.data, two.weight.data)


def test_layers_without_a_seed_differ():
    assert not numpy.array_equal(nn.Linear(5, 3).weight.data, nn.Linear(5, 3).weight.data)


def test_drawing_weights_leaves_numpys_global_state_alone():
    def state():
        return numpy.random.get_state()[1].copy()  # noqa: NPY002 -- the legacy state is what the test is about

    before = state()
    nn.Linear(5, 3)
    nn.Linear(5, 3, rng=0)
    numpy.testing.assert_array_equal(state(), before)

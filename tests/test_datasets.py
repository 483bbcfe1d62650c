"""The disk of the original project."""

import math

import numpy
import pytest

from fastbp import datasets

RADIUS = 1 / math.sqrt(2 * math.pi)  # half of the unit square's area


def test_inputs_and_targets_are_float32_of_two_columns():
    inputs, targets = datasets.disk(1000, 0)
    for array in (inputs, targets):
        assert array.shape == (1000, 2)
        assert array.dtype == numpy.float32
        assert array.flags.c_contiguous


def test_targets_are_one_hot_and_column_one_means_inside():
    inputs, targets = datasets.disk(20_000, 1)
    x = inputs.astype(numpy.float64) - 0.5
    inside = numpy.hypot(x[:, 0], x[:, 1]) < RADIUS
    numpy.testing.assert_array_equal(targets[:, 1], inside)
    numpy.testing.assert_array_equal(targets[:, 0], ~inside)


def test_points_fill_the_unit_square_uniformly():
    inputs, _ = datasets.disk(40_000, 2)
    assert (inputs >= 0).all()
    assert (inputs <= 1).all()
    counts = numpy.histogram2d(*inputs.T.astype(numpy.float64), bins=10, range=[[0, 1], [0, 1]])[0]
    chi_squared = ((counts - 400) ** 2 / 400).sum()
    assert 58 < chi_squared < 149, "99 degrees of freedom: a true uniform is outside once in a thousand seeds"


def test_about_half_of_the_points_are_inside():
    _, targets = datasets.disk(40_000, 3)
    assert abs(targets[:, 1].mean() - 0.5) < 4 * 0.5 / math.sqrt(40_000)


def test_a_seed_repeats_and_another_does_not():
    one, again, other = (datasets.disk(100, seed) for seed in (4, 4, 5))
    numpy.testing.assert_array_equal(one[0], again[0])
    numpy.testing.assert_array_equal(one[1], again[1])
    assert not numpy.array_equal(one[0], other[0])


def test_one_generator_gives_new_points_at_each_call():
    rng = numpy.random.default_rng(4)
    first, second = datasets.disk(100, rng), datasets.disk(100, rng)
    assert not numpy.array_equal(first[0], second[0])
    numpy.testing.assert_array_equal(first[0], datasets.disk(100, 4)[0])


def test_no_points_are_two_empty_arrays():
    inputs, targets = datasets.disk(0, 0)
    assert inputs.shape == targets.shape == (0, 2)


@pytest.mark.parametrize("n", [-1, -1000])
def test_a_negative_number_of_points_is_refused(n):
    with pytest.raises(ValueError, match=rf"disk.*{n}"):
        datasets.disk(n, 0)

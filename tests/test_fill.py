"""The initialisers that fill in place, beside PyTorch's of the same names."""

import math

import numpy
import pytest
import torch
from distributions import assert_distributed, normal, truncated_normal, uniform
from fills import ARGUMENTS, DRAWING, FILLS, fill, signature, weight
from helpers import assert_close, draw, mlp, snapshot, tensor

from fastbp import nn

init = nn.init
OUT, IN = 600, 240  # unequal, so that a mistaken fan shows; 144,000 draws
LARGE = (OUT, IN)


# Beside torch's


@pytest.mark.parametrize("name", [*FILLS, "calculate_gain"])
def test_names_order_and_defaults_of_the_arguments_are_those_of_torch(name):
    mine, theirs = (signature(getattr(module, name)) for module in (init, torch.nn.init))
    same = [parameter for parameter in mine.values() if parameter.name != "rng"]
    assert [(p.name, p.default) for p in same] == [(p.name, p.default) for p in theirs.values()]
    assert ("rng" in mine) == ("generator" in mine)


@pytest.mark.parametrize("name", ["zeros_", "ones_", "constant_", "eye_"])
@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (0, 3)])
def test_fills_without_randomness_give_what_torch_gives(name, shape, dtype):
    parameter, theirs = weight(dtype, shape), torch.full(shape, 7.0)
    assert fill(name, parameter) is parameter
    getattr(torch.nn.init, name)(theirs, *ARGUMENTS.get(name, ()))
    numpy.testing.assert_array_equal(parameter.data, theirs.numpy())


@pytest.mark.parametrize("value", [3, -0.0, numpy.float32(0.1), math.nan, -math.inf])
def test_a_constant_may_be_any_number_as_in_torch(value, dtype):
    theirs = torch.nn.init.constant_(tensor(numpy.ones(3, dtype)), float(value))
    mine = init.constant_(weight(dtype, (3,)), value).data
    numpy.testing.assert_array_equal(mine, theirs.numpy())
    numpy.testing.assert_array_equal(numpy.signbit(mine), numpy.signbit(theirs.numpy()))


def std(name, shape, **options):
    """The standard deviation that torch's own helpers give."""
    of_shape = torch.empty(shape)
    if name.startswith("xavier"):
        fan_in, fan_out = torch.nn.init._calculate_fan_in_and_fan_out(of_shape)
        return options.get("gain", 1) * math.sqrt(2 / (fan_in + fan_out))
    fan = torch.nn.init._calculate_correct_fan(of_shape, options.get("mode", "fan_in"))
    return torch.nn.init.calculate_gain(options.get("nonlinearity", "leaky_relu"), options.get("a", 0)) / math.sqrt(fan)


SCALED = [
    ("xavier", {}), ("xavier", {"gain": 3}), ("kaiming", {}), ("kaiming", {"a": math.sqrt(5)}),
    ("kaiming", {"mode": "fan_out"}), ("kaiming", {"mode": "FAN_OUT", "nonlinearity": "tanh"}),
    ("kaiming", {"nonlinearity": "relu", "a": 3.0}), ("kaiming", {"nonlinearity": "selu"}),
]  # fmt: skip


@pytest.mark.parametrize("shape", [(OUT, IN), (60, 24, 2, 50)])
@pytest.mark.parametrize(("family", "options"), SCALED)
def test_scaled_draws_have_the_standard_deviation_of_torchs_formula(family, options, shape, dtype):
    expected = std(family, shape, **options)
    drawn = getattr(init, f"{family}_normal_")(weight(dtype, shape), rng=0, **options).data
    assert_distributed(drawn, normal(expected))
    drawn = getattr(init, f"{family}_uniform_")(weight(dtype, shape), rng=0, **options).data
    assert_distributed(drawn, uniform(math.sqrt(3) * expected))


def test_torchs_own_reset_of_a_linear_weight_is_the_default_initialisation():
    drawn = init.kaiming_uniform_(weight(shape=LARGE), a=math.sqrt(5), rng=0).data
    assert_distributed(drawn, uniform(1 / math.sqrt(IN)))


@pytest.mark.parametrize("name", ["xavier_normal", "xavier_uniform", "kaiming_normal", "kaiming_uniform"])
def test_a_fill_draws_the_bits_of_the_initialiser_of_its_name(name, dtype):
    layer = nn.Linear(IN, OUT, init=name, rng=5, dtype=dtype)
    numpy.testing.assert_array_equal(fill(f"{name}_", weight(dtype, LARGE), rng=5).data, layer.weight.data)


def test_uniform_and_normal_take_their_bounds_and_moments(dtype):
    assert_distributed((init.uniform_(weight(dtype, LARGE), rng=0).data - 0.5), uniform(0.5))
    assert_distributed((init.uniform_(weight(dtype, LARGE), -3, 5.0, rng=1).data - 1), uniform(4))
    assert_distributed(init.normal_(weight(dtype, LARGE), rng=2).data, normal(1))
    assert_distributed((init.normal_(weight(dtype, LARGE), 0.25, 1e-3, rng=3).data.astype("f8") - 0.25), normal(1e-3))


def test_a_uniform_draw_does_not_reach_its_upper_bound_by_rounding():
    above = numpy.nextafter(numpy.float32(1), numpy.float32(2))
    assert (init.uniform_(weight(), 1.0, float(above), rng=0).data == 1).all()


def test_equal_bounds_and_a_deviation_of_zero_give_constants(dtype):
    assert (init.uniform_(weight(dtype), 2, 2, rng=0).data == 2).all()
    assert (init.normal_(weight(dtype), 2, 0, rng=0).data == 2).all()
    assert (init.trunc_normal_(weight(dtype), 0, 1, 2, 2, rng=0).data == 2).all()


TRUNCATED = {
    "torch's default": (0, 1, -2, 2),
    "nearly all of it": (0.5, 0.1, -1, 1),
    "one side": (0, 1, 0.5, math.inf),
    "narrow, around the mean": (1, 2, 0.9, 1.3),
    "above": (0, 1, 3, 100),
    "far above": (0, 1, 12, 13),
    "far below": (10, 0.5, -3, 2),
    "everything": (1, 2, -math.inf, math.inf),
}


@pytest.mark.parametrize("case", TRUNCATED)
def test_truncated_draws_are_distributed_as_the_normal_within_the_bounds(case, dtype):
    mean, deviation, low, high = TRUNCATED[case]
    drawn = init.trunc_normal_(weight(dtype, (200, 100)), mean, deviation, low, high, rng=4).data
    assert_distributed(drawn, truncated_normal(mean, deviation, low, high))
    assert drawn.min() >= numpy.asarray(low, dtype)
    assert drawn.max() <= numpy.asarray(high, dtype)


def test_a_tail_as_far_out_as_floats_go_is_still_finite():
    drawn = init.trunc_normal_(weight(numpy.float64, (20, 20)), 0, 1, -math.inf, -38.4, rng=0).data
    assert ((drawn <= -38.4) & (drawn > -38.6)).all()


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (1, 3), (3, 1), (4, 3, 2)])
@pytest.mark.parametrize("gain", [1, -2.5])
def test_orthogonal_rows_or_columns_have_the_length_of_the_gain(shape, gain, dtype):
    drawn = init.orthogonal_(weight(dtype, shape), gain, rng=0).data.astype(numpy.float64)
    matrix = drawn.reshape(shape[0], -1)
    square = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    numpy.testing.assert_allclose(square, gain**2 * numpy.eye(len(square)), atol=10 * numpy.finfo(dtype).eps * gain**2)


def test_orthogonal_matrices_are_uniform_over_both_orientations():
    determinants = [numpy.linalg.det(init.orthogonal_(weight(shape=(2, 2)), rng=seed).data) for seed in range(400)]
    assert abs(numpy.mean(determinants)) < 0.15, "3 standard errors; without the signs of R all would be 1 or all -1"
    entries = [init.orthogonal_(weight(shape=(2, 2)), rng=seed).data[0, 0] for seed in range(400)]
    assert abs(numpy.mean(entries)) < 0.11, "3 standard errors"


@pytest.mark.parametrize(("sparsity", "zeros"), [(0.1, 1), (0.25, 2), (0, 0), (1, 7), (0.9, 7)])
def test_each_column_of_a_sparse_matrix_has_its_share_of_zeros_as_in_torch(sparsity, zeros, dtype):
    theirs = torch.nn.init.sparse_(torch.empty(7, 500), sparsity)
    drawn = init.sparse_(weight(dtype, (7, 500)), sparsity, rng=0).data
    for matrix in (drawn, theirs.numpy()):
        assert ((matrix == 0).sum(axis=0) == zeros).all()
    if zeros < 7:
        assert_distributed(drawn[drawn != 0], normal(0.01))
        rows = (drawn == 0).mean(axis=1)
        assert abs(rows - zeros / 7).max() < 0.09, "4 standard errors: each row is as likely"


GAINS = ["linear", *(f"conv{t}{d}d" for t in ("", "_transpose") for d in (1, 2, 3)), "sigmoid", "tanh", "relu", "selu"]


@pytest.mark.parametrize(
    ("name", "param"), [*((name, None) for name in GAINS), *(("leaky_relu", p) for p in (None, 0, 0.2, -3))]
)
def test_calculated_gains_are_those_of_torch(name, param):
    assert init.calculate_gain(name, param) == pytest.approx(torch.nn.init.calculate_gain(name, param), rel=1e-15)


# Where they write, and what they draw from


@pytest.mark.parametrize("name", FILLS)
def test_a_fill_writes_through_to_the_model_and_to_nothing_else(name, dtype):
    model, x = mlp(5, 8, 3, dtype=dtype), draw((6, 5), dtype)
    data, before, output = model[2].weight.data, snapshot(model), model.predict(x)
    assert fill(name, model[2].weight) is model[2].weight
    assert numpy.shares_memory(model[2].weight.data, data)
    assert not numpy.array_equal(data, before["2.weight"][0])
    assert not numpy.array_equal(model.predict(x), output)
    assert model[2].weight.grad is None
    for other in ("0.weight", "0.bias", "2.bias"):
        numpy.testing.assert_array_equal(dict(model.named_parameters())[other].data, before[other][0])


@pytest.mark.parametrize("name", FILLS)
def test_a_view_is_filled_in_whatever_layout(name, dtype):
    parameter = weight(dtype, (6, 8))
    for view in (parameter.data.T, parameter.data[::2, ::-2], parameter.data[:4]):
        view[...] = 7
        seed = {"rng": 0} if name in DRAWING else {}
        assert fill(name, view, **seed) is view
        numpy.testing.assert_array_equal(view, fill(name, weight(dtype, view.shape), **seed).data)


@pytest.mark.parametrize("name", DRAWING)
def test_a_seed_repeats_a_fill_and_generator_is_another_word_for_rng(name, dtype):
    first, second = fill(name, weight(dtype), rng=3).data, fill(name, weight(dtype), generator=3).data
    third = fill(name, weight(dtype), generator=numpy.random.default_rng(3)).data
    numpy.testing.assert_array_equal(first, second)
    numpy.testing.assert_array_equal(first, third)
    assert not numpy.array_equal(first, fill(name, weight(dtype), rng=4).data)
    assert not numpy.array_equal(fill(name, weight(dtype)).data, fill(name, weight(dtype)).data)


def test_fills_from_one_generator_go_on_in_its_stream():
    rng = numpy.random.default_rng(0)
    first, second = init.normal_(weight(), rng=rng), init.normal_(weight(), rng=rng)
    assert not numpy.array_equal(first.data, second.data)


@pytest.mark.parametrize("name", [name for name in FILLS if name not in ("eye_", "sparse_")])
def test_a_parameter_without_elements_is_left_as_it_is(name, dtype):
    for shape in ((0, 3), (3, 0)):
        assert fill(name, weight(dtype, shape)).shape == shape


def test_a_filled_network_computes_what_torchs_does_with_the_same_numbers(dtype):
    layer, x = nn.Linear(5, 3, dtype=dtype), draw((6, 5), dtype)
    init.orthogonal_(layer.weight, rng=0)
    init.zeros_(layer.bias)
    assert_close(layer(x), torch.nn.functional.linear(tensor(x), tensor(layer.weight.data)))

"""Parameters where NumPy and Python take arrays: they read as their data, and are never replaced unnoticed."""

import copy
import operator
import pickle
import re

import numpy
import pytest
import torch
from helpers import draw, mlp

import fastbp
from fastbp import nn
from fastbp.nn.parameter import FlatView

BINARY = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow, divmod,
    operator.lt, operator.le, operator.gt, operator.ge,
]  # fmt: skip
IN_PLACE = [
    operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv, operator.imod, operator.ipow,
    operator.imatmul,
]  # fmt: skip
named = {"ids": lambda value: getattr(value, "__name__", None)}


@pytest.fixture
def weight(dtype):
    return nn.Linear(4, 3, rng=0, dtype=dtype).weight


def assert_same(mine, expected):
    """The same values of the same dtype, in NumPy's own type or in the tensor that was recorded."""
    assert type(mine) is type(expected) or (type(mine) is fastbp.Tensor and numpy.shape(mine) == numpy.shape(expected))
    if isinstance(expected, tuple):
        for one, two in zip(mine, expected, strict=True):
            assert_same(one, two)
        return
    assert mine.dtype == expected.dtype
    numpy.testing.assert_array_equal(mine, expected)


# Operators and functions of NumPy


@pytest.mark.parametrize("operation", BINARY, **named)
def test_an_operation_gives_the_array_that_the_data_gives(operation, weight, dtype):
    row = numpy.array([1.5, -2, 0.25, 3], dtype)
    for other in (2, 0.5, numpy.float64(0.5), row, draw((3, 4), dtype, seed=1) + 4):
        with numpy.errstate(invalid="ignore"):  # a negative number to a power
            assert_same(operation(weight, other), operation(weight.data, other))
            assert_same(operation(other, abs(weight)), operation(other, abs(weight.data)))
    positive = nn.Parameter(abs(weight.data))
    assert_same(operation(positive, positive), operation(positive.data, positive.data))


def test_matrix_products_and_signs_are_those_of_the_data(weight, dtype):
    x, y = draw((6, 3), dtype), draw((4, 2), dtype)
    for mine, expected in [
        (x @ weight, x @ weight.data), (weight @ y, weight.data @ y), (x @ weight.T.T, x @ weight.data),
        (-weight, -weight.data), (+weight, +weight.data), (abs(weight), abs(weight.data)),
    ]:  # fmt: skip
        assert_same(mine, expected)
        assert not numpy.shares_memory(mine, weight.data)


CALLS = {
    "exp": numpy.exp, "maximum": lambda w: numpy.maximum(w, 0), "add.reduce": numpy.add.reduce,
    "add.outer": lambda w: numpy.add.outer(w, w), "isfinite": numpy.isfinite, "sum": numpy.sum, "mean": numpy.mean,
    "sum of an axis": lambda w: numpy.sum(w, axis=0), "std": numpy.std, "norm": numpy.linalg.norm,
    "max": lambda w: numpy.max(w, axis=1), "concatenate": lambda w: numpy.concatenate([w, w]),
    "dot": lambda w: numpy.dot(w, w.T), "clip": lambda w: numpy.clip(w, 0, 1), "transpose": numpy.transpose,
    "where": lambda w: numpy.where(w > 0, w, 0), "zeros_like": numpy.zeros_like, "ravel": numpy.ravel,
    "histogram": lambda w: numpy.histogram(w, 5), "equal": lambda w: numpy.equal(w, w),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_function_of_numpy_gives_what_it_gives_for_the_data(name, weight):
    assert_same(CALLS[name](weight), CALLS[name](weight.data))


def test_a_parameter_is_read_by_an_operation_that_writes_into_an_array(weight, dtype):
    total = numpy.ones((3, 4), dtype)
    with pytest.raises(RuntimeError, match="does not record where its numbers come from"):
        total += weight
    with fastbp.no_grad():
        total += weight
        assert_same(total, 1 + weight.data)
        numpy.multiply(weight, 2, out=total)
        assert_same(total, 2 * weight.data)
        numpy.add.at(total, slice(None), weight)
    assert_same(total, 2 * weight.data + weight.data)


@pytest.mark.parametrize("operation", IN_PLACE, **named)
def test_an_operation_in_place_is_refused_with_its_remedy_as_torch_refuses_it(operation, weight):
    before = weight.data.copy()
    with pytest.raises(TypeError, match=r"numpy\.\w+ does not write into a Parameter; .*parameter\.data \*= 2"):
        operation(weight, 2)
    with pytest.raises(RuntimeError, match="in-place"):
        operator.imul(torch.nn.Linear(4, 3).weight, 2)
    numpy.testing.assert_array_equal(weight.data, before)


def test_a_layer_keeps_its_parameter_when_an_operation_in_place_is_refused():
    layer = nn.Linear(4, 3, rng=0)
    weight, before = layer.weight, layer.weight.data.copy()
    with pytest.raises(TypeError, match="does not write into a Parameter"):
        layer.weight *= 2
    assert layer.weight is weight
    layer.weight.data *= 2
    layer.weight[...] *= 2
    numpy.testing.assert_array_equal(layer.weight.data, 4 * before)


def test_a_parameter_as_the_output_of_a_function_is_refused(weight):
    before = weight.data.copy()
    for call in (
        lambda: numpy.add(weight, 1, out=weight),
        lambda: numpy.exp(weight.data, out=weight),
        lambda: numpy.add.reduce(numpy.ones((2, 3, 4)), axis=0, out=weight),
        lambda: numpy.divmod(weight.data, 2, out=(None, weight)),
        lambda: numpy.add.at(weight, (0, 0), 1),
    ):
        with pytest.raises(TypeError, match=r"numpy\.\w+ does not write into a Parameter"):
            call()
    numpy.testing.assert_array_equal(weight.data, before)


def test_an_operation_with_what_has_no_numbers_is_a_type_error(weight):
    for wrong in (None, "2", object(), nn.ReLU()):
        with pytest.raises(TypeError):
            weight * wrong
        with pytest.raises(TypeError):
            wrong * weight


# Equality


def test_between_parameters_equality_is_identity():
    one = nn.Linear(4, 3, rng=0).weight
    same_values = nn.Parameter(one.data)
    assert one == one
    assert one != same_values
    assert not one == same_values  # noqa: SIM201
    assert not one != one  # noqa: SIM202
    assert one in [None, "weight", nn.ReLU(), same_values, one]
    assert one not in (None, "weight", nn.ReLU(), same_values)
    assert {one: 1, same_values: 2}[one] == 1
    assert len({one, same_values, one}) == 2
    assert [same_values, one].index(one) == 1


def test_with_numbers_and_arrays_equality_is_elementwise(weight):
    weight.data[1] = 0
    for other in (0, 0.0, numpy.float64(0), weight.data[1], weight.data.copy(), weight.data.tolist()):
        assert_same(weight == other, weight.data == other)
        assert_same(weight != other, weight.data != other)
        assert_same(other == weight, other == weight.data)
        assert_same(other != weight, other != weight.data)
    assert (weight == 0).sum() == 4
    assert numpy.sum(weight == 0) == 4


def test_with_anything_else_a_parameter_is_not_equal(weight):
    for other in (None, "weight", object(), nn.ReLU(), {}):
        assert (weight == other) is False
        assert (weight != other) is True


def test_two_models_are_told_apart_by_their_arrays():
    one, two = nn.Linear(4, 3, rng=0).weight, nn.Linear(4, 3, rng=0).weight
    assert numpy.array_equal(one, two)
    assert not numpy.array_equal(one, nn.Linear(4, 3, rng=1).weight)


# Arrays of it


def test_an_array_of_a_parameter_is_its_memory_unless_a_copy_is_asked_for(weight, dtype):
    other_dtype = numpy.float64 if dtype == numpy.float32 else numpy.float32
    for view in (numpy.asarray(weight), numpy.asarray(weight, dtype), weight.numpy(), weight.detach().cpu().numpy()):
        assert_same(view, weight.data)
        assert numpy.shares_memory(view, weight.data)
    for copied in (numpy.array(weight), numpy.asarray(weight, other_dtype), weight.clone(), weight.detach().clone()):
        assert not numpy.shares_memory(copied, weight.data)
        numpy.testing.assert_array_equal(copied, weight.data.astype(copied.dtype))
    numpy.asarray(weight)[0, 0] = 5
    assert weight.data[0, 0] == 5


def test_the_array_protocol_follows_numpy_2(weight, dtype):
    other_dtype = numpy.float64 if dtype == numpy.float32 else numpy.float32
    assert numpy.shares_memory(weight.__array__(), weight.data)
    assert numpy.shares_memory(weight.__array__(dtype, copy=False), weight.data)
    assert not numpy.shares_memory(weight.__array__(copy=True), weight.data)
    assert weight.__array__(other_dtype, copy=True).dtype == other_dtype
    with pytest.raises(ValueError, match=r"Parameter of dtype float\d\d has no float\d\d array without a copy"):
        weight.__array__(other_dtype, copy=False)


def test_a_view_of_a_parameter_is_never_the_array_of_the_kernels(weight):
    """Whoever gets it may change its shape and flags."""
    numpy.asarray(weight).shape = (12,)
    weight.numpy().flags.writeable = False
    weight.detach().numpy().shape = (2, 6)
    assert weight.kernel_data.shape == (3, 4)
    assert weight.kernel_data.flags.writeable


def test_a_parameter_is_no_array_and_a_module_takes_it_as_an_input_that_is_trained():
    layer, input = nn.Linear(4, 3, rng=0), nn.Parameter(draw((2, 4), numpy.float32))
    assert not isinstance(input, numpy.ndarray)
    layer(input).sum().backward()
    numpy.testing.assert_allclose(input.grad, numpy.tile(layer.weight.data.sum(axis=0), (2, 1)), rtol=1e-6)


def test_indexing_reads_and_writes_the_model_in_place(weight):
    for index in (0, (1, 2), slice(1, None), (slice(None), [0, 2]), ..., (None, -1), weight.data > 0):
        assert_same(weight[index], weight.data[index])
    weight[0] = 1
    weight[1] = weight[0]
    weight[2] = [-1, 2, -3, 4]
    weight[2, ::2] *= 3
    weight[weight > 1] = 0
    numpy.testing.assert_array_equal(weight.data, [[1, 1, 1, 1], [1, 1, 1, 1], [-3, 0, -9, 0]])
    with pytest.raises(IndexError):
        weight[3]


def test_writing_by_index_is_writing_to_the_network(dtype):
    model, x = mlp(4, 5, 3, dtype=dtype), draw((6, 4), dtype)
    model[2].weight[...] = 0
    model[2].bias[:] = [1, 2, 3]
    numpy.testing.assert_array_equal(model.predict(x), numpy.tile([1, 2, 3], (6, 1)))


def test_length_iteration_and_containment_are_those_of_the_data(weight):
    assert len(weight) == 3
    for mine, expected in zip(weight, weight.data, strict=True):
        assert_same(mine, expected)
    assert weight.data[1, 1] in weight
    assert 7 not in weight


def test_what_a_parameter_tells_is_what_its_data_tells(weight):
    assert (weight.ndim, weight.numel(), weight.dim()) == (2, 12, 2)
    assert_same(weight.T, weight.data.T)
    assert numpy.shares_memory(weight.T, weight.data)
    assert weight.tolist() == weight.data.tolist()
    assert_same(weight.abs(), abs(weight.data))
    for name in ("sum", "mean", "min", "max"):
        assert_same(getattr(weight, name)(), getattr(weight.data, name)())
        assert_same(getattr(weight, name)(axis=1, keepdims=True), getattr(weight.data, name)(axis=1, keepdims=True))
        torch.testing.assert_close(float(getattr(weight, name)()), getattr(torch.tensor(weight.data), name)().item())


def test_one_number_is_read_as_a_number_and_several_are_ambiguous(weight):
    one = nn.Linear(1, 1, rng=0).weight
    assert one.item() == float(one) == one.data[0, 0]
    assert bool(one) is True
    assert int(nn.Parameter(numpy.full(1, 3.7))) == 3
    assert not nn.Parameter(numpy.zeros(1))
    for call in (bool, float, int, lambda w: w.item()):
        with pytest.raises(ValueError, match=re.compile("size 1|ambiguous")):
            call(weight)


# As PyTorch's parameters


def test_a_gradient_is_required_until_the_parameter_is_frozen():
    weight = nn.Linear(4, 3).weight
    assert weight.requires_grad is True
    assert weight.requires_grad_(False) is weight
    assert weight.requires_grad is False
    assert weight.requires_grad_() is weight
    assert weight.requires_grad is True


def test_parameters_have_no_other_attributes_than_their_own(weight):
    with pytest.raises(AttributeError):
        weight.momentum = 0.9


def test_the_parameters_of_one_model_fill_another_as_in_torch(dtype):
    one, two = mlp(4, 5, 3, dtype=dtype, seed=0), mlp(4, 5, 3, dtype=dtype, seed=1)
    two.load_state_dict(dict(one.named_parameters()))
    for name, parameter in two.named_parameters():
        numpy.testing.assert_array_equal(parameter, dict(one.named_parameters())[name])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copied_parameter_reads_and_writes_its_own_numbers(duplicate, weight):
    other = duplicate(weight)
    assert numpy.array_equal(other, weight)
    other[...] = 0
    assert weight.data.all()


@pytest.mark.parametrize("numbers", [numpy.mean, numpy.asarray, lambda w: w * 2], ids=["mean", "asarray", "times"])
def test_reading_a_parameter_changes_nothing(numbers, weight):
    before, flat = weight.data.copy(), FlatView([weight])
    numbers(weight)
    numpy.testing.assert_array_equal(weight.data, before)
    assert flat.is_current

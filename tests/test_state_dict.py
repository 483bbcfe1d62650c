"""state_dict and load_state_dict: PyTorch's names and shapes, NumPy arrays and torch tensors, all or nothing."""

import re

import numpy
import pytest
import torch
from helpers import assert_close, assert_unchanged, draw, mlp, owner, snapshot, twin

from fastbp import nn


@pytest.fixture
def model(dtype):
    return nn.Sequential(mlp(5, 7, 4, dtype=dtype), nn.Tanh(), nn.Linear(4, 3, bias=False, rng=9, dtype=dtype))


def test_names_shapes_and_order_are_those_of_torch(model):
    mine, theirs = model.state_dict(), twin(model).state_dict()
    assert list(mine) == list(theirs) == ["0.0.weight", "0.0.bias", "0.2.weight", "0.2.bias", "2.weight"]
    for name, value in mine.items():
        assert isinstance(value, numpy.ndarray)
        assert value.shape == tuple(theirs[name].shape)
        assert_close(value, theirs[name])


def test_a_layer_alone_has_the_names_of_torch():
    assert list(nn.Linear(5, 3).state_dict()) == ["weight", "bias"]
    assert nn.ReLU().state_dict() == {}


def test_a_state_dict_is_a_copy(model):
    state, before = model.state_dict(), snapshot(model)
    for value in state.values():
        value[...] = 5
    assert_unchanged(model, before)


def test_a_round_trip_gives_equal_predictions(model, dtype):
    x, other = draw((7, 5), dtype), mlp(5, 7, 4, dtype=dtype, seed=8)
    assert not numpy.array_equal(other.predict(x), model[0].predict(x))
    other.load_state_dict(model[0].state_dict())
    numpy.testing.assert_array_equal(other.predict(x), model[0].predict(x))


def test_torch_tensors_are_taken_as_they_come_from_torch(model, dtype):
    other = twin(model)
    torch.manual_seed(0)
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    x = draw((7, 5), dtype)
    model.load_state_dict(other.state_dict())
    assert_close(model.predict(x), other(torch.from_numpy(x)))
    model.load_state_dict(dict(other.named_parameters()))  # these record gradients
    assert_close(model.predict(x), other(torch.from_numpy(x)))


def test_torch_loads_what_the_library_saves(model, dtype):
    other, x = twin(model), draw((7, 5), dtype)
    model[2].weight.data *= 2
    other.load_state_dict({name: torch.from_numpy(value) for name, value in model.state_dict().items()})
    assert_close(model.predict(x), other(torch.from_numpy(x)))


def test_numpys_npz_file_holds_a_model(model, dtype, tmp_path):
    numpy.savez(tmp_path / "model.npz", **model.state_dict())
    before = snapshot(model)
    for parameter in model.parameters():
        parameter.data[...] = 0
    with numpy.load(tmp_path / "model.npz") as state:
        model.load_state_dict(state)
    assert_unchanged(model, before)


def test_views_stay_views_after_loading(model):
    for parameter in model.parameters():
        parameter.note_grad()
    views = [(parameter.data, parameter.grad) for parameter in model.parameters()]
    state = {name: numpy.full_like(value, 3) for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    for (data, grad), parameter in zip(views, model.parameters(), strict=True):
        assert parameter.data.ctypes.data == data.ctypes.data
        assert parameter.grad.ctypes.data == grad.ctypes.data
        assert (data == 3).all()
        assert not numpy.shares_memory(data, state["0.0.weight"])
    assert len({id(owner(data)) for data, _ in views}) == 1


def test_loading_leaves_the_gradients_as_they_are(model):
    for parameter in model.parameters():
        parameter.grad = numpy.full_like(parameter.data, 2)
    model.load_state_dict(model.state_dict())
    assert all((parameter.grad == 2).all() for parameter in model.parameters())


def test_values_in_fortran_order_land_where_they_belong(model):
    before = snapshot(model)
    model.load_state_dict({name: numpy.asfortranarray(value) for name, value in model.state_dict().items()})
    assert_unchanged(model, before)


def test_values_of_the_other_float_dtype_are_cast_as_in_torch():
    single, double = mlp(5, 3), mlp(5, 3, dtype=numpy.float64, seed=4)
    other = twin(single)
    other.load_state_dict({name: torch.from_numpy(value) for name, value in double.state_dict().items()})
    single.load_state_dict(double.state_dict())
    for mine, theirs in zip(single.parameters(), other.parameters(), strict=True):
        assert mine.data.dtype == numpy.float32
        numpy.testing.assert_array_equal(mine.data, theirs.detach().numpy())


def faulty(model):
    """A state dict with two entries of each fault, and a good one."""
    state = model.state_dict()
    state["extra"] = state.pop("0.0.bias")
    state["3.weight"] = state.pop("2.weight")
    state["0.2.weight"] = state["0.2.weight"].T.copy()
    state["0.2.bias"] = numpy.zeros(9, numpy.float32)
    state["0.0.weight"] = state["0.0.weight"] + 1
    return state


def test_all_mismatches_are_named_at_once(model):
    with pytest.raises(ValueError, match="load_state_dict") as caught:
        model.load_state_dict(faulty(model))
    for part in (
        r"missing '0\.0\.bias'",
        r"missing '2\.weight'",
        r"unexpected 'extra'",
        r"unexpected '3\.weight'",
        r"'0\.2\.weight' has shape \(7, 4\) instead of \(4, 7\)",
        r"'0\.2\.bias' has shape \(9,\) instead of \(4,\)",
    ):
        assert re.search(part, str(caught.value)), part
    assert "'0.0.weight'" not in str(caught.value), "the good entry is not named"


def test_a_mismatch_changes_nothing(model):
    before = snapshot(model)
    with pytest.raises(ValueError, match="load_state_dict"):
        model.load_state_dict(faulty(model))
    assert_unchanged(model, before)


@pytest.mark.parametrize("wrong", [numpy.array(["a", "b", "c"]), numpy.array([None] * 3), numpy.ones(3, complex)])
def test_values_that_are_not_real_numbers_are_named_and_change_nothing(wrong):
    layer = nn.Linear(5, 3)
    before = snapshot(layer)
    with pytest.raises(ValueError, match=rf"'bias' has dtype {re.escape(str(wrong.dtype))}"):
        layer.load_state_dict({"weight": numpy.zeros((3, 5)), "bias": wrong})
    assert_unchanged(layer, before)


def test_shapes_that_numpy_would_broadcast_are_refused():
    layer = nn.Linear(5, 3)
    with pytest.raises(ValueError, match=r"'bias' has shape \(1,\) instead of \(3,\)"):
        layer.load_state_dict({"weight": numpy.zeros((3, 5)), "bias": numpy.zeros(1)})


def test_values_that_are_views_of_the_module_itself_are_read_before_any_is_written():
    model = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Linear(3, 3, rng=1))
    expected = model[0].weight.data.copy(), model[1].weight.data.copy()
    state = model.state_dict() | {"0.weight": model[1].weight.data, "1.weight": model[0].weight.data}
    model.load_state_dict(state)
    numpy.testing.assert_array_equal(model[1].weight.data, expected[0])
    numpy.testing.assert_array_equal(model[0].weight.data, expected[1])

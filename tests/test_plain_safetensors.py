"""Files of safetensors that other programs wrote: fastbp.load fills a model from them."""

import json
import struct

import numpy
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from helpers import assert_close, assert_unchanged, draw, mlp, snapshot, twin
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from tied import ties, weights

import fastbp
from fastbp import nn, optim


@pytest.fixture
def module(dtype):
    torch.manual_seed(0)
    layers = torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 3)
    return torch.nn.Sequential(*layers).to(getattr(torch, numpy.dtype(dtype).name))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_a_file_of_torch_fills_a_model(module, dtype, path):
    safetensors.torch.save_file(module.state_dict(), path)
    model, x = mlp(5, 7, 3, dtype=dtype), draw((4, 5), dtype)
    loaded = fastbp.load(path, model)
    assert loaded == (model, None, None)
    assert_close(model.predict(x), module(torch.from_numpy(x)))


def test_a_file_with_metadata_of_its_own_fills_a_model(path):
    other, model = mlp(5, 7, 3, seed=4), mlp(5, 7, 3)
    safetensors.numpy.save_file(other.state_dict(), path, {"format": "pt", "version": "1.7", "content": "weights"})
    fastbp.load(path, model)
    assert_unchanged(model, snapshot(other))


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_other_floats_are_cast_as_torch_casts_them(stored, module, dtype, path):
    state = {name: value.to(stored) for name, value in module.state_dict().items()}
    state["0.bias"][:4] = torch.tensor([numpy.nan, numpy.inf, -numpy.inf, 1e-40], dtype=stored)
    safetensors.torch.save_file(state, path)
    model = mlp(5, 7, 3, dtype=dtype)
    other = twin(model)
    fastbp.load(path, model)
    other.load_state_dict(state)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        numpy.testing.assert_array_equal(mine.data, theirs.detach().numpy())


def refused(path, model, match):
    before = snapshot(model)
    with pytest.raises(fastbp.CheckpointError, match=match) as error:
        fastbp.load(path, model)
    assert str(path) in str(error.value)
    assert_unchanged(model, before)


@pytest.mark.parametrize(
    ("stored", "match"),
    [(torch.bool, "'2.bias' has dtype bool"),
     (torch.float8_e4m3fn, "cannot be read: it holds '2.bias' as F8_E4M3; write it as floats")], ids=str,
)  # fmt: skip
def test_a_tensor_that_holds_no_floats_is_named(stored, match, module, path):
    state = module.state_dict()
    state["2.bias"] = state["2.bias"].to(stored)
    safetensors.torch.save_file(state, path)
    refused(path, mlp(5, 7, 3), match)


def test_a_tensor_of_integers_is_taken_as_in_torch(module, path):
    state = module.state_dict()
    state["2.bias"] = torch.arange(3)
    safetensors.torch.save_file(state, path)
    module.load_state_dict(safetensors.torch.load_file(path))
    model = mlp(5, 7, 3)
    fastbp.load(path, model)
    numpy.testing.assert_array_equal(model[2].bias.data, module[2].bias.detach().numpy())


def test_names_and_shapes_that_do_not_fit_are_named(module, path):
    state = module.state_dict()
    state["fc.bias"] = state.pop("0.bias")
    state["2.weight"] = state["2.weight"].T.contiguous()
    safetensors.torch.save_file(state, path)
    shapes = r"'2\.weight' has shape \(7, 3\) instead of \(3, 7\)"
    for match in (r"unexpected 'fc\.bias'", r"missing '0\.bias'", shapes):
        refused(path, mlp(5, 7, 3), match)


def test_without_a_model_the_file_asks_for_one(module, path):
    safetensors.torch.save_file(module.state_dict(), path)
    with pytest.raises(fastbp.CheckpointError, match=r"parameters and no network: build the model and pass it, model="):
        fastbp.load(path)


def test_it_holds_no_optimiser(module, path):
    safetensors.torch.save_file(module.state_dict(), path)
    model = mlp(5, 7, 3, dtype=module[0].weight.detach().numpy().dtype)
    before = snapshot(model)
    with pytest.raises(fastbp.CheckpointError, match="no optimiser"):
        fastbp.load(path, model, optim.SGD(model.parameters(), lr=1))
    assert_unchanged(model, before)


def test_a_tied_model_takes_the_one_name_that_torch_kept_of_it(path):
    """``safetensors.torch.save_model`` leaves the other names of a parameter out."""
    model, other = weights(numpy.float32), weights(numpy.float32)
    module = twin(model)
    module[2].weight = module[0].weight
    with torch.no_grad():
        module[0].weight.mul_(2)
    safetensors.torch.save_model(module, path)
    assert len(safetensors.numpy.load_file(path)) == 3
    fastbp.load(path, model)
    assert ties(model) == ties(other)
    numpy.testing.assert_array_equal(model[2].weight.data, 2 * other[0].weight.data)
    model[2].weight = nn.Parameter(model[0].weight.data)
    refused(path, model, r"missing '2\.weight'")


def test_a_tied_model_refuses_values_that_differ(path):
    model = weights(numpy.float32)
    safetensors.numpy.save_file(model.state_dict() | {"2.weight": numpy.ones((4, 4), numpy.float32)}, path)
    refused(path, model, r"different values for 0\.weight and 2\.weight, .*the model ties")


def test_an_empty_tensor_is_one_that_does_not_fit(path):
    state = mlp(5, 7, 3).state_dict()
    safetensors.numpy.save_file(state | {"0.bias": numpy.zeros((0, 3), numpy.float32)}, path)
    refused(path, mlp(5, 7, 3), r"'0\.bias' has shape \(0, 3\)")


def test_a_file_that_is_cut_off_or_lies_about_its_sizes_is_refused(module, path):
    whole = safetensors.torch.save(module.state_dict())
    size = struct.unpack("<Q", whole[:8])[0]
    head = json.loads(whole[8 : 8 + size])
    head["0.bias"]["data_offsets"] = [0, 10**12]
    lie = json.dumps(head).encode()
    damaged = [whole[:length] for length in (0, 7, 8, 100, 8 + size, len(whole) - 1)]
    for data in (*damaged, struct.pack("<Q", len(lie)) + lie + whole[8 + size :]):
        path.write_bytes(data)
        refused(path, mlp(5, 7, 3), "cannot be read|not a .*safetensors")


@pytest.fixture(scope="module")
def whole():
    return safetensors.torch.save(twin(mlp(5, 7, 3)).state_dict(), {"format": "pt"})


@examples(max_examples=100)
@given(st.binary(max_size=60), st.integers(0, 700), st.integers(0, 60))
def test_a_damaged_file_of_another_program_is_refused_or_read(whole, tmp_path_factory, inserted, place, removed):
    """It has no checksum; but no other error, and no model that is half filled."""
    path, model = tmp_path_factory.getbasetemp() / "fuzzed_plain", mlp(5, 7, 3)
    path.write_bytes(whole[:place] + inserted + whole[place + removed :])
    before = snapshot(model)
    try:
        fastbp.load(path, model)
    except fastbp.CheckpointError:
        assert_unchanged(model, before)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 200) | st.floats() | st.sampled_from(["F32", "BF16", "I64", "F4", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@examples(max_examples=100)
@given(
    st.sampled_from(["0.bias", "2.weight", "__metadata__"]),
    st.sampled_from(["dtype", "shape", "data_offsets", "format"]),
    VALUES,
)
def test_a_header_that_says_anything_is_refused_or_read(whole, tmp_path_factory, name, field, value):
    size = struct.unpack("<Q", whole[:8])[0]
    head = json.loads(whole[8 : 8 + size])
    head[name][field] = value
    text = json.dumps(head).encode()
    path, model = tmp_path_factory.getbasetemp() / "forged_plain", mlp(5, 7, 3)
    path.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + size :])
    before = snapshot(model)
    try:
        fastbp.load(path, model)
    except fastbp.CheckpointError:
        assert_unchanged(model, before)


def test_a_checkpoint_that_lost_its_mark_is_not_taken_for_another_programs(path):
    model = mlp(5, 7, 3)
    fastbp.save(path, model)
    path.write_bytes(path.read_bytes().replace(b'"format":"fastbp"', b'"format":"fastbq"'))
    for arguments in ({"model": model}, {}):
        with pytest.raises(fastbp.CheckpointError, match="damaged: its format is 'fastbq'"):
            fastbp.load(path, **arguments)

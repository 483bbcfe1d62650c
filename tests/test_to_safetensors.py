"""Parameters as files of safetensors in torch's naming: torch's loader takes them, and so does fastbp.load."""

import numpy
import pytest
import safetensors
import safetensors.torch
import torch
from helpers import draw

import fastbp
from fastbp import nn

DTYPES = (numpy.float32, numpy.float64)


def network(dtype):
    parts = [nn.Linear(5, 8, rng=0, dtype=dtype), nn.BatchNorm1d(8, dtype=dtype), nn.PReLU(8, dtype=dtype)]
    inner = nn.Sequential(nn.Linear(8, 8, False, rng=1, dtype=dtype), nn.LayerNorm(8, dtype=dtype))
    model = nn.Sequential({"body": nn.Sequential(*parts, inner), "head": nn.Linear(8, 3, rng=2, dtype=dtype)})
    model(draw((20, 5), dtype))
    return model


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_loads_what_was_written_into_its_own_network(dtype, tmp_path):
    model, path = network(dtype), tmp_path / "model.safetensors"
    fastbp.to_safetensors(model, path)
    other = fastbp.to_torch(network(dtype))
    for parameter in other.parameters():
        parameter.data.zero_()
    other.load_state_dict(safetensors.torch.load_file(path))
    for name, value in other.state_dict().items():
        numpy.testing.assert_array_equal(value.numpy(), model.state_dict()[name])
    assert safetensors.torch.load_model(other, path) == (set(), [])


def test_shared_parameters_are_written_once_as_torch_has_it(tmp_path):
    def tied():
        one, other = nn.Linear(4, 4, rng=0), nn.Linear(4, 4, rng=1)
        other.weight = one.weight
        return nn.Sequential(one, nn.Tanh(), other)

    model, path = tied(), tmp_path / "model.safetensors"
    fastbp.to_safetensors(model, path)
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "pt", "2.weight": "0.weight"}
        assert sorted(file.keys()) == ["0.bias", "0.weight", "2.bias"]
    module = fastbp.to_torch(tied())
    module[0].weight.data.zero_()
    safetensors.torch.load_model(module, path)
    x = draw((3, 4), numpy.float32)
    numpy.testing.assert_allclose(module(torch.from_numpy(x)).detach(), model.predict(x), atol=1e-6)
    again = tied()
    again[0].weight.data[...] = 0
    fastbp.load(path, again)
    numpy.testing.assert_array_equal(again[2].weight.data, model[0].weight.data)


def test_a_model_of_ones_own_class_is_written_too(tmp_path):
    class Own(nn.Module):
        def __init__(self):
            self.first = nn.Linear(3, 2, rng=0)

    model, path = Own(), tmp_path / "model.safetensors"
    fastbp.to_safetensors(model, path)
    state = safetensors.torch.load_file(path)
    assert list(state) == ["first.bias", "first.weight"]
    other = Own()
    fastbp.load(path, other)
    numpy.testing.assert_array_equal(other.first.weight.data, model.first.weight.data)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(TypeError, match="to_safetensors takes a Module of fastbp"):
        fastbp.to_safetensors([1.0], tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []

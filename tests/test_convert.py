"""from_torch and to_torch."""

import sys

import pytest
import torch
from helpers import assert_close, assert_unchanged, draw, mlp, snapshot, torch_dtype

import fastbp
from fastbp import nn


@pytest.fixture
def module(dtype):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(5, 7),
        torch.nn.ReLU(),
        torch.nn.Sequential(torch.nn.Linear(7, 4, bias=False), torch.nn.Tanh()),
        torch.nn.Sigmoid(),
        torch.nn.Linear(4, 3),
    ).to(torch_dtype(dtype))


def test_from_torch_gives_equal_predictions(module, dtype):
    x, model = draw((7, 5), dtype), fastbp.from_torch(module)
    assert model[0].weight.dtype == dtype
    assert_close(model.predict(x), module(torch.from_numpy(x)))


def test_to_torch_gives_equal_predictions(dtype):
    x = draw((7, 5), dtype)
    model = nn.Sequential(mlp(5, 7, 4, dtype=dtype), nn.Tanh(), nn.Linear(4, 3, bias=False, dtype=dtype), nn.Sigmoid())
    module = fastbp.to_torch(model)
    assert_close(model.predict(x), module(torch.from_numpy(x)))
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_round_trip_keeps_every_bit_and_the_structure(module):
    again = fastbp.to_torch(fastbp.from_torch(module))
    assert repr(again) == repr(module)
    for (name, one), (other_name, two) in zip(module.named_parameters(), again.named_parameters(), strict=True):
        assert name == other_name
        assert one.dtype == two.dtype
        assert torch.equal(one, two)


@pytest.mark.parametrize("kind", [torch.nn.ReLU, torch.nn.Tanh, torch.nn.Sigmoid])
def test_an_activation_alone_is_converted(kind):
    model = fastbp.from_torch(kind())
    assert type(model) is getattr(nn, kind.__name__)
    assert type(fastbp.to_torch(model)) is kind


def test_a_linear_alone_is_converted_with_or_without_bias():
    for bias in (True, False):
        layer = fastbp.from_torch(torch.nn.Linear(5, 3, bias=bias))
        assert (layer.bias is not None) == bias
        assert (fastbp.to_torch(layer).bias is not None) == bias


def test_converted_networks_share_no_memory(module):
    model = fastbp.from_torch(module)
    before, weight = snapshot(model), module[0].weight.detach().clone()
    with torch.no_grad():
        module[0].weight += 1
    assert_unchanged(model, before)
    again = fastbp.to_torch(model)
    model[0].weight.data[...] = 7
    assert torch.equal(again[0].weight, weight)


@pytest.mark.parametrize("convert", [lambda: fastbp.from_torch(None), lambda: fastbp.to_torch(nn.ReLU())])
def test_a_missing_torch_is_asked_for_by_name(convert, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"PyTorch.*fastbp\[torch\]"):
        convert()

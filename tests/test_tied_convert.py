"""Tied parameters between fastbp and torch: one parameter there is one here."""

import numpy
import pytest
import torch
from helpers import assert_close, assert_same_gradients, assert_same_parameters, draw, leaf, tensor, torch_dtype
from tied import TIED, ties

import fastbp
from fastbp import nn, optim


def torch_ties(module):
    groups = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def twice(dtype):
    """One module at two places, which torch allows: an activation, a layer and a Sequential of both."""
    torch.manual_seed(0)
    act, layer = torch.nn.Tanh(), torch.nn.Linear(4, 4)
    block = torch.nn.Sequential(layer, act, torch.nn.Linear(4, 4))
    return torch.nn.Sequential(layer, act, block, act, block, torch.nn.Sequential(act, layer)).to(dtype)


def shared(dtype):
    """Modules of their own that share a weight, or a bias, or both."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(4, 4) for _ in range(4)]
    layers[2].weight, layers[1].bias = layers[0].weight, layers[0].bias
    layers[3].weight, layers[3].bias = layers[1].weight, layers[2].bias
    nested = torch.nn.Sequential(layers[2], torch.nn.Sequential(torch.nn.Sigmoid(), layers[3]))
    return torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], nested).to(dtype)


@pytest.fixture(params=[twice, shared], ids=lambda build: build.__name__)
def module(request, dtype):
    return request.param(torch_dtype(dtype))


def assert_same_step(model, module, dtype):
    """Outputs, gradients and the parameters after a step of SGD; torch adds both uses of a parameter into one grad."""
    x, grad_output = draw((7, 4), dtype), draw((7, 4), dtype, seed=1)
    theirs = leaf(x)
    expected = module(theirs)
    expected.backward(tensor(grad_output))
    assert_close(model.predict(x), expected)
    assert_close(model(x), expected)
    model.zero_grad()
    assert_close(model.backward(grad_output), theirs.grad)
    assert_same_gradients(model, module)
    optim.SGD(model.parameters(), lr=0.1).step()
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    assert_same_parameters(model, module)


def test_ties_come_from_torch(module, dtype):
    model = fastbp.from_torch(module)
    assert ties(model) == torch_ties(module)
    assert len({id(inner) for _, inner in model.named_modules()}) == len(list(model.named_modules()))
    assert_same_step(model, module, dtype)


@pytest.mark.parametrize("case", TIED)
def test_ties_go_to_torch(case, dtype):
    build, groups = TIED[case]
    model = build(dtype)
    module = fastbp.to_torch(model)
    assert torch_ties(module) == groups
    assert all(type(parameter) is torch.nn.Parameter and parameter.requires_grad for parameter in module.parameters())
    assert_same_step(model, module, dtype)


@pytest.mark.parametrize("case", TIED)
def test_ties_go_to_torch_and_come_back(case, dtype):
    build, groups = TIED[case]
    model = build(dtype)
    again = fastbp.from_torch(fastbp.to_torch(model))
    assert ties(again) == groups
    for mine, other in zip(model.parameters(), again.parameters(), strict=True):
        numpy.testing.assert_array_equal(mine.data, other.data)


def test_ties_come_from_torch_and_go_back(module):
    again = fastbp.to_torch(fastbp.from_torch(module))
    assert torch_ties(again) == torch_ties(module)
    for mine, other in zip(module.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_tied_model_of_torch_goes_through_a_file(module, dtype, tmp_path):
    model = fastbp.from_torch(module)
    fastbp.save(tmp_path / "c", model)
    loaded = fastbp.load(tmp_path / "c").model
    assert ties(loaded) == torch_ties(module)
    assert_same_step(loaded, module, dtype)


def apart(one, two):
    """Two layers whose weights are two parameters over the memory of one."""
    return torch.nn.Sequential(one, torch.nn.ReLU(), two)


def same_data():
    one, two = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    two.weight.data = one.weight.data
    return apart(one, two)


def transposed():
    one, two = torch.nn.Linear(4, 6), torch.nn.Linear(6, 4)
    two.weight = torch.nn.Parameter(one.weight.t())
    return apart(one, two)


def overlapping():
    one, two, memory = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), torch.randn(7, 4)
    one.weight, two.weight = torch.nn.Parameter(memory[:4]), torch.nn.Parameter(memory[3:])
    return apart(one, two)


@pytest.mark.parametrize("build", [same_data, transposed, overlapping])
def test_parameters_that_share_memory_without_being_one_are_refused(build):
    with pytest.raises(ValueError, match=r"'0\.weight' and '2\.weight' .*memory.*module\.weight = other\.weight"):
        fastbp.from_torch(build())


def test_parameters_that_are_parts_of_one_memory_are_taken():
    memory, module = torch.randn(4, 8), apart(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    module[0].weight, module[2].weight = torch.nn.Parameter(memory[:, :4]), torch.nn.Parameter(memory[:, 4:])
    model = fastbp.from_torch(module)
    assert_same_parameters(model, module)
    assert not numpy.shares_memory(model[0].weight.data, memory.numpy())


def test_to_torch_leaves_its_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    fastbp.to_torch(nn.Linear(4, 4))
    assert torch.equal(torch.get_rng_state(), before)

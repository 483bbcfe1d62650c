"""Frozen parameters are not stepped and get no gradient: in the engine as module by module, and as in torch."""

import copy
import pickle
from itertools import product

import numpy
import pytest
import torch
from helpers import assert_same_parameters, draw, mlp, tensor, twin
from same_bits import assert_same_bits, outcome

import fastbp
from fastbp import nn, optim

OWN = type("Own", (nn.MSELoss,), {})  # trained module by module
FROZEN = {
    "first": ("0.weight", "0.bias"),
    "middle": ("2.weight", "2.bias"),
    "last": ("4.weight", "4.bias"),
    "first two": ("0.weight", "0.bias", "2.weight", "2.bias"),
    "a weight": ("0.weight", "4.weight"),
    "a bias": ("0.bias", "2.bias"),
    "all": ("0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"),
}


def network(dtype, names=()):
    model = mlp(5, 33, 16, 3, dtype=dtype)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name not in names
    return model


def data(dtype, n=23):
    return draw((n, 5), dtype), draw((n, 3), dtype, seed=8)


@pytest.mark.parametrize("opt", ["SGD", "Adam"])
@pytest.mark.parametrize("case", FROZEN)
def test_the_engine_gives_the_bits_of_the_modules(case, opt, dtype):
    rows = data(dtype, 600)
    for size, threads in product((7, 23, 600), (1, 3)):
        fastbp.set_num_threads(threads)
        ends = []
        for kind in (nn.MSELoss, OWN):
            model = network(dtype, FROZEN[case])
            before = {name: p.data.copy() for name, p in model.named_parameters()}
            history = fastbp.train_model(
                model, *rows, None, None, kind(), getattr(optim, opt)(model.parameters(), lr=0.01), 2, size
            )
            assert history.backend == ("engine" if kind is nn.MSELoss else "modules")
            ends.append(outcome(model, history))
            for name, parameter in model.named_parameters():
                is_frozen = name in FROZEN[case]
                assert numpy.array_equal(parameter.data, before[name]) == is_frozen
                assert (parameter.grad is None) == is_frozen
        assert_same_bits(*ends)


@pytest.mark.parametrize("case", FROZEN)
@pytest.mark.parametrize("calls_modules", [False, True])
def test_gradients_are_those_of_torch(case, calls_modules, dtype):
    model = network(dtype, FROZEN[case])
    other = fastbp.to_torch(model)
    assert [p.requires_grad for p in other.parameters()] == [p.requires_grad for p in model.parameters()]
    x, grad = draw((7, 5), dtype), draw((7, 3), dtype, seed=1)
    inputs = tensor(x).requires_grad_()
    other(inputs).backward(tensor(grad))
    for wants_grad_input in (True, False):
        model.zero_grad()
        if calls_modules:
            output = x
            for module in model:
                output = module(output)
            step = grad
            for module in reversed(list(model)[1:]):
                step = module.backward(step)
            step = model[0].backward(step) if wants_grad_input else model[0].backward_parameters(step)
        else:
            model(x)
            step = model.backward(grad) if wants_grad_input else model.backward_parameters(grad)
        if wants_grad_input:
            numpy.testing.assert_allclose(step, inputs.grad.numpy(), rtol=1e-4, atol=1e-6)
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            assert (mine.grad is None) == (theirs.grad is None)
            if mine.grad is not None:
                numpy.testing.assert_allclose(mine.grad, theirs.grad.numpy(), rtol=1e-4, atol=1e-6)


def network_with_norms(dtype):
    inner = (nn.Linear(16, 16, rng=2, dtype=dtype), nn.LayerNorm(16, dtype=dtype), nn.Tanh())
    return nn.Sequential(
        nn.Linear(5, 16, rng=1, dtype=dtype), nn.BatchNorm1d(16, dtype=dtype), nn.ReLU(), nn.Residual(*inner),
        nn.Dropout(0.1, rng=3), nn.Linear(16, 3, rng=4, dtype=dtype),
    )  # fmt: skip


@pytest.mark.parametrize("names", [("0.", "1."), ("0.", "1.", "3.0."), ("1.weight", "3.1.bias"), ("3.1.", "5.weight")])
def test_frozen_norms_are_frozen_alike_in_the_engine(names, dtype):
    rows = data(dtype, 60)
    for threads in (1, 3):
        fastbp.set_num_threads(threads)
        ends = []
        for kind in (nn.MSELoss, OWN):
            model = network_with_norms(dtype)
            chosen = [p for name, p in model.named_parameters() if name.startswith(names)]
            for parameter in chosen:
                parameter.requires_grad = False
            before = [p.data.copy() for p in chosen]
            opt = optim.AdamW(model.parameters(), lr=0.01)
            history = fastbp.train_model(model, *rows, None, None, kind(), opt, 2, 16, clip_grad_norm=0.3)
            assert history.backend == ("engine" if kind is nn.MSELoss else "modules")
            for parameter, values in zip(chosen, before, strict=True):
                numpy.testing.assert_array_equal(parameter.data, values)
                assert parameter.grad is None
            ends.append(outcome(model, history))
        assert_same_bits(*ends)


@pytest.mark.parametrize("opt", ["SGD", "Adam", "NAdam"])
def test_a_parameter_that_was_frozen_for_a_while_counts_its_own_steps_as_in_torch(opt, dtype):
    model = mlp(5, 4, 3, dtype=dtype)
    other = twin(model)
    options = {"momentum": 0.9, "dampening": 0.5} if opt == "SGD" else {}
    mine = getattr(optim, opt)(model.parameters(), lr=0.01, **options)
    theirs = getattr(torch.optim, opt)(other.parameters(), lr=0.01, **options)
    x, target, criterion = draw((6, 5), dtype), draw((6, 3), dtype, seed=1), nn.MSELoss()
    for step in range(9):
        for one in (model, other):
            one[0].requires_grad_(step not in (0, 1, 4))
            one[2].bias.requires_grad_(step != 5)
        mine.zero_grad()
        theirs.zero_grad()
        criterion(model(x), target)
        model.backward(criterion.backward())
        torch.nn.functional.mse_loss(other(tensor(x)), tensor(target)).backward()
        mine.step()
        theirs.step()
        assert_same_parameters(model, other)
    if opt != "SGD":
        steps = [[int(own["step"]) for _, own in sorted(o.state_dict()["state"].items())] for o in (mine, theirs)]
        assert steps == [[6, 6, 9, 8]] * 2


def test_own_steps_are_counted_alike_in_the_engine(dtype, tmp_path):
    ends = []
    for kind in (nn.MSELoss, OWN):
        model = network(dtype)
        opt = optim.NAdam([{"params": model[0].parameters(), "lr": 0.02}, {"params": model[2].parameters()}], lr=0.01)
        opt.add_param_group({"params": model[4].parameters(), "betas": (0.5, 0.9), "weight_decay": 0.1})
        for names in ((), ("0.weight", "2.bias"), ("4.bias",)):
            for name, parameter in model.named_parameters():
                parameter.requires_grad = name not in names
            history = fastbp.train_model(model, *data(dtype), None, None, kind(), opt, 2, 7)
        fastbp.save(tmp_path / "c", model, opt)
        loaded = fastbp.load(tmp_path / "c")
        assert [p.requires_grad for p in loaded.model.parameters()] == [p.requires_grad for p in model.parameters()]
        assert repr(loaded.opt.state_dict()) == repr(opt.state_dict())
        for pair in ((loaded.model, loaded.opt), copy.deepcopy((model, opt)), pickle.loads(pickle.dumps((model, opt)))):
            history = fastbp.train_model(pair[0], *data(dtype), None, None, kind(), pair[1], 2, 7)
            ends.append(outcome(pair[0], history))
    for end in ends[1:]:
        assert_same_bits(ends[0], end)


def test_groups_give_the_same_bits_with_any_number_of_threads(dtype):
    rows = data(dtype, 600)
    for size in (7, 600):
        ends = []
        for kind, threads in product((nn.MSELoss, OWN), (1, 3)):
            fastbp.set_num_threads(threads)
            model = network(dtype, ("2.weight",))
            opt = optim.SGD([{"params": model[4].parameters(), "lr": 0.1}, {"params": model[0].parameters()}], lr=0.01)
            opt.add_param_group({"params": model[2].parameters(), "momentum": 0.5})
            ends.append(outcome(model, fastbp.train_model(model, *rows, None, None, kind(), opt, 2, size)))
        for end in ends[1:]:
            assert_same_bits(ends[0], end)


@pytest.mark.parametrize("is_frozen", [True, False])
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_an_optimiser_over_a_part_of_the_parameters_leaves_the_others_alone(name, is_frozen, dtype):
    ends = []
    for kind, threads in product((nn.MSELoss, OWN), (1, 3)):
        fastbp.set_num_threads(threads)
        model = network(dtype, ("2.weight", "0.bias") if is_frozen else ())
        chosen = [p for key, p in model.named_parameters() if key not in ("2.weight", "0.bias")]
        opt = getattr(optim, name)(chosen, lr=0.01)
        before = [model[2].weight.data.copy(), model[0].bias.data.copy()]
        for size in (7, 23):
            history = fastbp.train_model(model, *data(dtype), None, None, kind(), opt, 2, size)
        assert history.backend == ("engine" if kind is nn.MSELoss else "modules")
        assert (model[2].weight.grad is None) == is_frozen
        numpy.testing.assert_array_equal(model[2].weight.data, before[0])
        numpy.testing.assert_array_equal(model[0].bias.data, before[1])
        ends.append(outcome(model, history))
        opt.zero_grad()
        assert (model[2].weight.grad is None) == is_frozen
        assert model[0].weight.grad is None
        assert len(opt.state_dict()["state"]) == (4 if name == "Adam" else 0)
    for end in ends[1:]:
        assert_same_bits(ends[0], end)


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_frozen_parameters_stay_so_on_their_way_from_torch_and_back(name):
    module = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(3, 2))
    getattr(module[1], name).requires_grad_(False)
    model = fastbp.from_torch(module)
    frozen = [key for key, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == [f"1.{name}"]
    assert [key for key, p in fastbp.to_torch(model).named_parameters() if not p.requires_grad] == frozen


def test_requires_grad_is_true_or_false():
    layer = nn.Linear(3, 2)
    assert layer.requires_grad_(False) is layer
    assert not layer.weight.requires_grad
    assert not nn.Parameter(numpy.ones(2), requires_grad=False).requires_grad
    for wrong in (None, 1, "no"):
        with pytest.raises(TypeError, match=r"Parameter takes requires_grad as True or False, got"):
            layer.weight.requires_grad = wrong
    assert not layer.weight.requires_grad

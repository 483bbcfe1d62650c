"""The optimiser's group of parameters, where scripts for PyTorch read and set the learning rate."""

import copy
import pickle
import re

import numpy
import pytest
import torch
from helpers import assert_same_parameters, mlp, twin

from fastbp import nn, optim


@pytest.fixture
def opt():
    return optim.SGD(nn.Linear(5, 3, rng=0).parameters(), lr=0.5)


def test_the_group_holds_what_torchs_group_holds():
    model = mlp(5, 4, 3)
    (mine,), (theirs,) = (
        one.param_groups
        for one in (optim.SGD(model.parameters(), lr=0.5), torch.optim.SGD(twin(model).parameters(), lr=0.5))
    )
    assert list(mine) == list(theirs)
    for name in set(mine) - {"params"}:
        assert mine[name] == theirs[name]
        assert type(mine[name]) is type(theirs[name])
    assert mine["params"] == tuple(model.parameters())
    assert len(mine) == len(theirs)


def test_a_learning_rate_set_in_the_group_is_that_of_the_optimiser_and_the_other_way_round(opt):
    kept = opt.param_groups[0]
    for group in opt.param_groups:
        group["lr"] *= 0.1
    assert opt.lr == kept["lr"] == 0.5 * 0.1
    opt.lr = 0.25
    assert opt.param_groups[0]["lr"] == kept["lr"] == 0.25
    kept.update(lr=0.125, momentum=0)
    assert opt.lr == 0.125


def test_steps_follow_a_schedule_over_the_groups_as_in_torch(dtype):
    model = mlp(5, 4, 3, dtype=dtype)
    other = twin(model)
    pair = optim.SGD(model.parameters(), lr=0.5), torch.optim.SGD(other.parameters(), lr=0.5)
    for _ in range(4):
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            mine.grad = mine.data / 8
            theirs.grad = theirs.detach() / 8
        for one in pair:
            one.step()
            for group in one.param_groups:
                group["lr"] *= 0.5
        assert_same_parameters(model, other)
    assert pair[0].lr == pair[1].param_groups[0]["lr"] == 0.5**5


@pytest.mark.parametrize("lr", [-1, numpy.nan, numpy.inf, 1e300, 10**400], ids=lambda lr: repr(lr)[:8])
def test_a_learning_rate_out_of_range_is_refused_in_the_group_too(opt, lr):
    with pytest.raises(ValueError, match=rf"SGD takes .*lr .*got {re.escape(repr(lr))}"):
        opt.param_groups[0]["lr"] = lr
    assert opt.lr == 0.5


@pytest.mark.parametrize("wrong", ["0.1", None, True, [0.1]], ids=repr)
def test_a_learning_rate_that_is_no_number_is_refused_in_the_group_too(opt, wrong):
    with pytest.raises(TypeError, match=rf"SGD takes lr as a number, got {re.escape(repr(wrong))}$"):
        opt.param_groups[0]["lr"] = wrong
    assert opt.lr == 0.5


@pytest.mark.parametrize(
    "wrong", [numpy.array(0.1), torch.tensor(0.1), nn.Parameter(numpy.ones(1))], ids=["array", "tensor", "parameter"]
)
def test_a_learning_rate_in_an_array_is_refused_with_its_remedy(opt, wrong):
    with pytest.raises(TypeError, match=rf"SGD takes lr as a number, got {re.escape(repr(wrong))}; .*\.item\(\)"):
        opt.lr = wrong
    opt.lr = wrong.item()
    assert opt.lr == wrong.item()


NEUTRAL = {"foreach": False, "differentiable": False, "fused": None}


@pytest.mark.parametrize("name", NEUTRAL)
def test_an_option_may_be_set_to_what_changes_nothing_and_to_nothing_else(opt, name):
    group = opt.param_groups[0]
    group[name] = NEUTRAL[name]
    with pytest.raises(ValueError, match=rf"SGD has one compiled step and does not support {name}=0\.9; leave it out$"):
        group[name] = 0.9
    assert not group[name]


def test_an_option_that_sgd_has_not_is_refused_by_name(opt):
    group = opt.param_groups[0]
    with pytest.raises(TypeError, match=r"SGD takes params and lr, momentum, .*, maximize, got learning_rate$"):
        group["learning_rate"] = 0.1
    with pytest.raises(KeyError):
        group["initial_lr"]
    assert group.get("initial_lr", 7) == 7
    assert "learning_rate" not in group


def test_groups_and_their_parameters_cannot_be_changed(opt):
    group, before = opt.param_groups[0], opt.parameters
    stray = nn.Linear(3, 2).weight
    with pytest.raises(TypeError, match=r"SGD keeps the parameters .* add_param_group, or build a new one"):
        group["params"] = [stray]
    for name in ("params", "lr", "momentum"):
        with pytest.raises(TypeError, match=r"entries .* cannot be removed"):
            del group[name]
    with pytest.raises(TypeError, match=r"entries .* cannot be removed"):
        group.clear()
    for call in (lambda: group["params"].append(stray), lambda: opt.param_groups.append({"params": [stray]})):
        with pytest.raises(AttributeError, match="append"):
            call()
    with pytest.raises(AttributeError):
        opt.param_groups = []
    assert opt.parameters is before
    assert group["params"] is before


def set_gradients(mine, theirs):
    for own, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        own.grad = own.data / 8 + 1
        other.grad = other.detach() / 8 + 1


def test_groups_with_settings_of_their_own_are_stepped_as_in_torch(dtype):
    model = mlp(5, 4, 3, dtype=dtype)
    other = twin(model)
    pair = [
        library.SGD([{"params": one[0].parameters(), "momentum": 0.9}, {"params": [one[2].weight], "lr": 0.25}], lr=0.5)
        for library, one in ((optim, model), (torch.optim, other))
    ]
    assert [group["lr"] for group in pair[0].param_groups] == [0.5, 0.25]
    for step in range(4):
        if step == 2:
            for one, bias in zip(pair, (model[2].bias, other[2].bias), strict=True):
                one.add_param_group({"params": bias, "lr": 0.125, "momentum": 0.5})
        set_gradients(model, other)
        for one in pair:
            one.step()
        assert_same_parameters(model, other)


def test_a_group_that_is_added_later_counts_its_own_steps_as_in_torch(dtype):
    model = mlp(5, 4, 3, dtype=dtype)
    other = twin(model)
    pair = optim.NAdam(model[0].parameters()), torch.optim.NAdam(other[0].parameters())
    for step in range(6):
        if step == 3:
            for one, last in zip(pair, (model[2], other[2]), strict=True):
                one.add_param_group({"params": list(last.parameters()), "lr": 0.125})
        set_gradients(model, other)
        for one in pair:
            one.step()
        assert_same_parameters(model, other)
    steps, products = (
        [[float(own[name]) for own in one.state_dict()["state"].values()] for one in pair]
        for name in ("step", "mu_product")
    )
    assert steps == [[6, 6, 3, 3]] * 2
    assert products[0] == products[1]


def test_a_setting_of_the_optimiser_is_set_in_all_groups_and_read_from_the_first():
    one, two = nn.Linear(5, 3), nn.Linear(3, 2)
    opt = optim.SGD([{"params": one.parameters(), "lr": 0.5}, {"params": two.parameters(), "lr": 0.25}])
    assert opt.lr == 0.5
    with pytest.raises(ValueError, match="SGD takes a finite lr"):
        opt.lr = -1
    assert [group["lr"] for group in opt.param_groups] == [0.5, 0.25]
    opt.lr = 0.125
    assert [group["lr"] for group in opt.param_groups] == [0.125, 0.125]
    assert repr(opt) == "SGD([2 parameters, lr=0.125], [2 parameters, lr=0.125])"


def test_what_is_no_group_is_refused_and_nothing_is_added(opt):
    stray = nn.Linear(3, 2).weight
    before = opt.parameters
    with pytest.raises(ValueError, match=r"SGD takes each parameter in one group, got one of shape \(3, 5\) in two"):
        opt.add_param_group({"params": opt.parameters[0]})
    with pytest.raises(TypeError, match=r"SGD\.add_param_group takes a mapping, got Parameter"):
        opt.add_param_group(stray)
    with pytest.raises(ValueError, match="SGD takes nesterov=True with a momentum"):
        opt.add_param_group({"params": stray, "nesterov": True})
    for mixed in ([*before, {"params": [stray]}], [{"params": [stray]}, *before]):
        with pytest.raises(TypeError, match="SGD takes parameters or groups of them, got both"):
            optim.SGD(mixed, lr=0.1)
    assert opt.parameters is before
    assert len(opt.param_groups) == 1


def test_one_group_is_taken_as_in_torch():
    layer, other = nn.Linear(5, 3), torch.nn.Linear(5, 3)
    for extra in ({}, {"lr": 0.25}, {"lr": 0.25, "momentum": 0, "nesterov": False}):
        mine = optim.SGD([{"params": layer.parameters(), **extra}], lr=0.1, weight_decay=0)
        theirs = torch.optim.SGD([{"params": other.parameters(), **extra}], lr=0.1, weight_decay=0)
        assert mine.parameters == (layer.weight, layer.bias)
        assert mine.lr == theirs.param_groups[0]["lr"]
    assert optim.SGD([{"params": layer.weight}], lr=0.1).parameters == (layer.weight,)
    assert optim.SGD(mine.param_groups).param_groups == mine.param_groups


WRONG_GROUPS = {
    "an option": ({"foreach": True}, ValueError, r"does not support foreach=True"),
    "another option": ({"betas": (0.9, 0.99)}, TypeError, r"SGD takes params and lr, .*, got betas"),
    "nesterov": ({"nesterov": True}, ValueError, r"SGD takes nesterov=True with a momentum and no dampening"),
    "lr": ({"lr": -1}, ValueError, r"SGD takes a finite lr of 0 or more, got -1"),
    "params": ({"params": 5}, TypeError, r"SGD takes an iterable of parameters, got int"),
    "a module": ({"params": [nn.ReLU()]}, TypeError, r"SGD takes fastbp\.nn\.Parameter, got ReLU"),
    "none": ({"params": []}, ValueError, r"SGD takes one parameter or more, got none"),
}


@pytest.mark.parametrize("case", WRONG_GROUPS)
def test_a_group_is_checked_as_the_arguments_are(case):
    entries, error, match = WRONG_GROUPS[case]
    with pytest.raises(error, match=match):
        optim.SGD([{"params": nn.Linear(5, 3).parameters(), **entries}], lr=0.1)


def test_a_group_without_parameters_is_refused():
    with pytest.raises(ValueError, match=r"SGD takes a group with 'params', got 'lr', 'momentum'"):
        optim.SGD([{"lr": 0.1, "momentum": 0}])


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, through_pickle])
def test_a_copied_optimiser_has_the_parameters_of_the_copied_model(duplicate):
    model = mlp(5, 4, 3)
    model2, opt2 = duplicate((model, optim.SGD(model.parameters(), lr=0.5)))
    assert opt2.parameters == tuple(model2.parameters())
    assert opt2.param_groups[0]["params"] == tuple(model2.parameters())
    opt2.param_groups[0]["lr"] = 1.0
    assert opt2.lr == 1
    for parameter in model2.parameters():
        parameter.grad = parameter.data
    opt2.step()
    assert not any(parameter.data.any() for parameter in model2.parameters())
    assert any(parameter.data.any() for parameter in model.parameters())


def test_a_copied_group_belongs_to_the_copied_optimiser(opt):
    opt2, group2 = copy.deepcopy((opt, opt.param_groups[0]))
    group2["lr"] = 0.125
    assert (opt2.lr, opt.lr) == (0.125, 0.5)


def test_optimiser_and_group_say_what_they_hold_in_one_line(opt):
    assert repr(opt) == "SGD(2 parameters, lr=0.5)"
    assert repr(opt.param_groups[0]) == "ParameterGroup(2 parameters, lr=0.5)"

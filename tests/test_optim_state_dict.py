"""The optimiser's state dictionary, in PyTorch's form and exchanged with it."""

import copy

import numpy
import pytest
import torch
from helpers import mlp, twin

from fastbp import nn, optim


@pytest.fixture
def model():
    return mlp(5, 4, 3)


@pytest.fixture
def opt(model):
    return optim.SGD(model.parameters(), lr=0.5)


def theirs(model, lr=0.25, **options):
    return torch.optim.SGD(twin(model).parameters(), lr=lr, **options)


def test_the_state_is_that_of_torch(model, opt):
    assert opt.state_dict() == theirs(model, lr=0.5).state_dict()
    assert list(opt.state_dict()["param_groups"][0]) == list(theirs(model).state_dict()["param_groups"][0])


def test_the_state_is_a_copy(opt):
    opt.state_dict()["param_groups"][0]["lr"] = 7
    opt.state_dict()["param_groups"][0]["params"].append(7)
    assert opt.lr == 0.5
    assert opt.state_dict()["param_groups"][0]["params"] == [0, 1, 2, 3]


def test_the_state_goes_to_torch_and_back(model, opt):
    other = theirs(model)
    other.load_state_dict(opt.state_dict())
    assert other.param_groups[0]["lr"] == 0.5
    other.param_groups[0]["lr"] = 0.125
    assert opt.load_state_dict(other.state_dict()) is None
    assert opt.lr == 0.125
    again = optim.SGD(model.parameters())
    again.load_state_dict(opt.state_dict())
    assert again.lr == 0.125


def test_the_state_of_torch_is_taken_after_steps_with_names_and_under_a_schedule(model, opt):
    other = twin(model)
    named = torch.optim.SGD(other.named_parameters(), lr=0.25)
    schedule = torch.optim.lr_scheduler.StepLR(named, step_size=1, gamma=0.5)
    other(torch.ones(2, 5)).sum().backward()
    named.step()
    schedule.step()
    assert {"param_names", "initial_lr"} <= set(named.state_dict()["param_groups"][0])
    opt.load_state_dict(named.state_dict())
    assert opt.lr == 0.125


def test_buffers_of_momentum_that_hold_nothing_are_taken(model, opt):
    """PyTorch 1 and 2.0 wrote them."""
    state = theirs(model).state_dict()
    state["state"] = {index: {"momentum_buffer": None} for index in range(4)}
    opt.load_state_dict(state)
    assert opt.lr == 0.25


def changed(state, **entries):
    state = copy.deepcopy(state)
    state["param_groups"][0].update(entries)
    return state


def with_momentum(model):
    other = twin(model)
    opt = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    other(torch.ones(2, 5)).sum().backward()
    opt.step()
    return opt.state_dict()


def in_torch(**options):
    return lambda model: theirs(model, **options).state_dict()


def without_lr(model):
    state = theirs(model).state_dict()
    del state["param_groups"][0]["lr"]
    return state


FORM = r"SGD\.load_state_dict takes a mapping with 'state' and 'param_groups', got"
OPTIONS = r"SGD has one compiled step and does not support"
CASES = {
    "momentum below 0": (
        lambda model: changed(theirs(model).state_dict(), momentum=-1),
        r"SGD takes a finite momentum of 0 or more, got -1$",
    ),
    "nesterov alone": (
        lambda model: changed(theirs(model).state_dict(), nesterov=True),
        r"SGD takes nesterov=True with a momentum and no dampening, got momentum=0, dampening=0$",
    ),
    "a buffer alone": (
        lambda model: {**theirs(model).state_dict(), "state": with_momentum(model)["state"]},
        r"takes no state of parameters, got momentum_buffer$",
    ),
    "two options": (
        lambda model: changed(theirs(model).state_dict(), differentiable=True, foreach=True),
        rf"{OPTIONS} foreach=True, differentiable=True; leave it out$",
    ),
    "Adam": (
        lambda model: torch.optim.Adam(twin(model).parameters()).state_dict(),
        r"takes the state of an SGD, got one with betas, eps, amsgrad",
    ),
    "two groups": (
        lambda model: torch.optim.SGD([{"params": p} for p in twin(model).parameters()], lr=0.1).state_dict(),
        r"takes one group of parameters, got 4$",
    ),
    "fewer parameters": (lambda model: theirs(model[0]).state_dict(), r"over 4 parameters, got one over 2$"),
    "a model's state": (lambda model: model.state_dict(), rf"{FORM} '0\.weight', '0\.bias'"),
    "no state": (
        lambda model: {"param_groups": theirs(model).state_dict()["param_groups"]},
        rf"{FORM} 'param_groups'$",
    ),
    "a state that is none": (lambda model: {**theirs(model).state_dict(), "state": [1]}, r"takes 'state' as a mapping"),
    "groups in no list": (lambda model: {"state": {}, "param_groups": 5}, r"takes 'param_groups' as a list, got int"),
    "a group of another kind": (lambda model: {"state": {}, "param_groups": [5]}, r"takes a group with .*, got 5$"),
    "no lr": (without_lr, r"takes a group with 'lr' and a list 'params', got {"),
    "a negative lr": (lambda model: changed(theirs(model).state_dict(), lr=-1), r"SGD takes a finite lr .*got -1$"),
    "an lr beyond float32": (lambda model: changed(theirs(model).state_dict(), lr=1e300), r"SGD takes .*float32"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_named_and_changes_nothing(case, model, opt):
    make, match = CASES[case]
    with pytest.raises(ValueError, match=match):
        opt.load_state_dict(make(model))
    assert opt.state_dict() == theirs(model, lr=0.5).state_dict()


def test_what_is_no_state_and_an_lr_that_is_no_number_are_type_errors(model, opt):
    for wrong in ([], None, opt):
        with pytest.raises(TypeError, match=rf"{FORM} {type(wrong).__name__}$"):
            opt.load_state_dict(wrong)
    with pytest.raises(TypeError, match=r"SGD takes lr as a number, got tensor.*\.item\(\)"):
        opt.load_state_dict(theirs(model, lr=torch.tensor(0.5)).state_dict())
    assert opt.lr == 0.5


def test_a_training_goes_on_from_states_alone(dtype):
    one = mlp(5, 4, 3, dtype=dtype)
    opt = optim.SGD(one.parameters(), lr=0.5)
    two = mlp(5, 4, 3, dtype=dtype, seed=1)
    other = optim.SGD(two.parameters())
    two.load_state_dict(one.state_dict())
    other.load_state_dict(opt.state_dict())
    for model, optimizer in ((one, opt), (two, other)):
        criterion = nn.MSELoss()
        criterion(model(numpy.ones((2, 5), dtype)), numpy.ones((2, 3), dtype))
        model.backward(criterion.backward())
        optimizer.step()
    for mine, their in zip(one.parameters(), two.parameters(), strict=True):
        numpy.testing.assert_array_equal(mine.data, their.data)

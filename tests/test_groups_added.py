"""Groups that are added at any moment of a training are stepped as in torch, and what is in no group is not."""

import copy

import numpy
import pytest
import torch
from helpers import assert_same_parameters, draw, mlp, tensor, twin
from same_bits import assert_same_bits, outcome

import fastbp
from fastbp import nn, optim

OPTIMIZERS = {
    "SGD": {"lr": 0.05},
    "SGD with momentum": {"lr": 0.05, "momentum": 0.9, "dampening": 0.5},
    "Adam": {"lr": 0.01},
    "Adam with amsgrad": {"lr": 0.01, "amsgrad": True},
    "AdamW": {"lr": 0.01},
    "NAdam": {"lr": 0.001},
    "RAdam": {"lr": 0.01},
    "Adamax": {"lr": 0.01},
    "RMSprop": {"lr": 0.01, "momentum": 0.5, "centered": True},
    "Adagrad": {"lr": 0.05, "initial_accumulator_value": 0.1},
    "Adadelta": {"lr": 1.0},
    "Rprop": {"lr": 0.01},
}
EVENTS = ("train", "steps", "add", "add in progress", "freeze", "load", "copy", "lay out")
OWN = type("Own", (nn.MSELoss,), {})  # trained module by module
X, Y = draw((12, 4), "f8"), draw((12, 3), "f8", seed=1)


class Both:
    """The same training in fastbp and in torch: events happen to both."""

    def __init__(self, name, *, kind=nn.MSELoss, first=2):
        self.model = mlp(4, 5, 6, 3, activation="Tanh", dtype=numpy.float64)
        self.other = twin(self.model)
        self.options, self.criterion = OPTIMIZERS[name], kind()
        self.left = [place for place in (0, 2, 4) if place != first]
        mine, theirs = (getattr(module, name.partition(" ")[0]) for module in (optim, torch.optim))
        self.opt = mine(self.model[first].parameters(), **self.options)
        self.torch_opt = theirs(self.other[first].parameters(), **self.options)

    def step_torch(self, epochs):
        for start in [0, 5, 10] * epochs:
            self.other.zero_grad()
            rows = slice(start, start + 5)
            loss = torch.nn.functional.mse_loss(self.other(tensor(X[rows])), tensor(Y[rows]))
            if loss.requires_grad:
                loss.backward()
            self.torch_opt.step()

    def train(self, epochs=1, progress=False):
        fastbp.train_model(self.model, X, Y, None, None, self.criterion, self.opt, epochs, 5, progress=progress)

    def steps(self):
        for start in (0, 5, 10):
            self.model.zero_grad()
            self.criterion(self.model(X[start : start + 5]), Y[start : start + 5])
            self.model.backward(self.criterion.backward())
            self.opt.step()

    def add(self, opt, model, place):
        opt.add_param_group({"params": list(model[place].parameters()), "lr": self.options["lr"] / 2})

    def do(self, event):
        if event == "train":
            self.train()
            self.step_torch(1)
        elif event == "steps":
            self.steps()
            self.step_torch(1)
        elif event == "add" and self.left:
            place = self.left.pop()
            self.add(self.opt, self.model, place)
            self.add(self.torch_opt, self.other, place)
        elif event == "add in progress" and self.left:
            place = self.left.pop(0)
            self.train(2, lambda history: self.add(self.opt, self.model, place) if history.epochs == 1 else None)
            self.step_torch(1)
            self.add(self.torch_opt, self.other, place)
            self.step_torch(1)
        elif event == "freeze":
            for one in (self.model, self.other):
                one[2].weight.requires_grad_(not one[2].weight.requires_grad)
                one[4].bias.requires_grad_(one[2].weight.requires_grad)
        elif event == "load":
            for opt in (self.opt, self.torch_opt):
                opt.load_state_dict(copy.deepcopy(opt.state_dict()))
        elif event == "copy":
            self.model, self.opt = copy.deepcopy((self.model, self.opt))
        elif event == "lay out":
            self.model = nn.Sequential(*self.model)
        if not isinstance(self.opt, optim.NAdam):
            assert_same_parameters(self.model, self.other)
        for mine, theirs in zip(self.model.parameters(), self.other.parameters(), strict=True):
            # torch keeps NAdam's product in float32
            numpy.testing.assert_allclose(mine.data, theirs.detach().numpy(), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_groups_added_at_every_moment_are_stepped_as_in_torch(name, seed):
    rng = numpy.random.default_rng([seed, len(name)])
    both = Both(name, first=int(rng.choice([0, 2, 4])))
    for event in [*rng.choice(EVENTS, 7), "add", "train", "add", "steps", "train"]:
        both.do(event)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_group_added_behind_a_training_of_a_part_of_the_model_is_stepped(name):
    both = Both(name)
    both.do("train")
    both.add(both.opt, both.model, 0)
    both.add(both.torch_opt, both.other, 0)
    before = both.model[4].weight.data.copy()
    both.do("steps")
    both.do("train")
    both.do("steps")
    numpy.testing.assert_array_equal(both.model[4].weight.data, before)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_engine_gives_the_bits_of_the_modules_where_groups_are_added(name):
    ends = []
    for kind in (nn.MSELoss, OWN):
        both = Both(name, kind=kind, first=4)
        for place in (2, 0):
            both.train()
            both.train(3, lambda history, both=both, place=place: history.epochs == 1 and both.add(
                both.opt, both.model, place
            ))  # fmt: skip
            both.steps()
        ends.append(outcome(both.model, fastbp.History()))
    assert_same_bits(*ends)


def test_an_optimiser_goes_from_a_slice_of_a_model_to_the_whole(dtype):
    ends = []
    for kind in (nn.MSELoss, OWN):
        model = mlp(4, 5, 4, 3, dtype=dtype)
        body, opt = model[:3], optim.Adam(model[2].parameters(), lr=0.01)
        x, y = X.astype(dtype), X.astype(dtype)
        for _ in range(2):
            fastbp.train_model(body, x, y, None, None, kind(), opt, 1, 5)
            fastbp.train_model(model, x, y[:, :3].copy(), None, None, kind(), opt, 1, 5)
        opt.add_param_group({"params": body[0].parameters()})
        fastbp.train_model(body, x, y, None, None, kind(), opt, 1, 5)
        opt.add_param_group({"params": model[4].parameters()})
        fastbp.train_model(model, x, y[:, :3].copy(), None, None, kind(), opt, 1, 5)
        ends.append(outcome(model, fastbp.History()))
    assert_same_bits(*ends)


def test_an_optimiser_over_models_of_several_dtypes_steps_each_as_alone():
    models = [nn.Linear(3, 2, rng=0), nn.Linear(2, 4, rng=1, dtype=numpy.float64), nn.Linear(4, 2, rng=2)]
    alone = [copy.deepcopy(model) for model in models]
    opt = optim.Adam([p for model in models for p in model.parameters()], lr=0.1)
    others = [optim.Adam(model.parameters(), lr=0.1) for model in alone]
    for _ in range(3):
        for model in (*models, *alone):
            for parameter in model.parameters():
                parameter.grad = parameter.data / 3
        for one in (opt, *others):
            one.step()
    for model, other in zip(models, alone, strict=True):
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            numpy.testing.assert_array_equal(mine.data, theirs.data)


def test_a_layout_that_failed_is_not_kept(monkeypatch):
    ends = []
    for fails in (False, True):
        both = Both("Adam")
        both.steps()
        both.add(both.opt, both.model, 0)
        if fails:
            with monkeypatch.context() as patch:
                patch.setattr("fastbp.optim.state_vectors.aligned_zeros", lambda *_: 1 / 0)
                for _ in range(2):
                    with pytest.raises(ZeroDivisionError):
                        both.opt.step()
        both.steps()
        ends.append(outcome(both.model, fastbp.History()))
    assert_same_bits(*ends)


def test_a_momentum_that_is_set_between_steps_is_in_the_state_when_it_has_made_one():
    model = nn.Linear(3, 2, rng=0)
    opt = optim.SGD(model.parameters(), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = parameter.data
    opt.step()
    opt.momentum = 0.9
    assert opt.state_dict()["state"] == {}
    opt.step()
    assert [list(own) for own in opt.state_dict()["state"].values()] == [["momentum_buffer"]] * 2

"""An optimiser passes by parameters without a gradient, as in PyTorch: no update, no decay, no momentum, no step."""

import copy
import gc
import pickle
import weakref

import numpy
import pytest
import torch
from helpers import draw, mlp, tensor, twin
from numpy.testing import assert_allclose, assert_array_equal
from optimizers import optimizer

import fastbp
from fastbp import nn, optim
from fastbp.nn.utils import clip_grad_norm_, clip_grad_value_
from fastbp_kernels.functions.optimizers import OPTIMIZERS

F64 = numpy.float64
ROWS = [row.name for row in OPTIMIZERS]
STATES = [row.name for row in OPTIMIZERS if row.state]
# Which of the six parameters have a gradient, step by step: heads in turn, none at all, one that comes late.
SUBSETS = [(0, 1, 2, 3), (0, 1, 4, 5), (0, 1, 4, 5), (), (2, 3), (0, 1, 2, 3), (0,), (0, 1, 2, 3, 4, 5), (1, 3, 5)]


class Heads:
    """A body and two heads in fastbp and in torch, with an optimiser over all of them."""

    def __init__(self, row, lr=0.01, grouped=False, is_flat=True):
        parts = [nn.Linear(i, o, rng=o, dtype=F64) for i, o in ((4, 5), (5, 3), (5, 2))]
        self.model = nn.Sequential(*parts[:2]) if is_flat else nn.ModuleList(parts[:2])
        self.mine = [parameter for part in parts for parameter in part.parameters()]
        self.theirs = [torch.nn.Parameter(tensor(parameter.data)) for parameter in self.mine]
        self.opt = optimizer(row, self._groups(self.mine, grouped), lr)
        self.other = optimizer(row, self._groups(self.theirs, grouped), lr, torch.optim)
        self.seed, self.tolerance = 0, 1e-12

    @staticmethod
    def _groups(parameters, grouped):
        return [{"params": parameters[:2]}, {"params": parameters[2:], "lr": 0.003}] if grouped else parameters

    def step(self, chosen):
        self.opt.zero_grad()
        self.other.zero_grad()
        for place in chosen:
            self.seed += 1
            self.mine[place].grad = draw(self.mine[place].shape, F64, self.seed)
            self.theirs[place].grad = tensor(self.mine[place].grad)
        before = [parameter.data.copy() for parameter in self.mine]
        self.opt.step()
        self.other.step()
        for place, parameter in enumerate(self.mine):
            assert place in chosen or numpy.array_equal(parameter.data, before[place])
        self.compare()

    def compare(self):
        for mine, theirs in zip(self.mine, self.theirs, strict=True):
            assert_allclose(mine.data, theirs.detach().numpy(), rtol=0, atol=self.tolerance)

    def compare_states(self):
        mine, theirs = self.opt.state_dict()["state"], self.other.state_dict()["state"]
        theirs = {n: {k: v for k, v in own.items() if v is not None} for n, own in theirs.items()}
        assert {n for n, own in theirs.items() if own} == set(mine)
        for number, own in mine.items():
            assert set(own) == set(theirs[number])
            for name, value in own.items():
                assert_allclose(value, numpy.asarray(theirs[number][name]), rtol=0, atol=self.tolerance, err_msg=name)


@pytest.mark.parametrize("is_flat", [True, False], ids=["one vector", "three"])
@pytest.mark.parametrize("grouped", [False, True], ids=["", "groups"])
@pytest.mark.parametrize("row", ROWS)
def test_every_optimiser_with_heads_in_turn_makes_the_steps_of_torch(row, grouped, is_flat):
    heads = Heads(row, grouped=grouped, is_flat=is_flat)
    for chosen in SUBSETS:
        heads.step(chosen)
        heads.compare_states()


@pytest.mark.parametrize("row", ROWS)
def test_an_optimiser_makes_many_steps_of_the_same_parameters_as_torch(row):
    heads = Heads(row)
    for chosen in 40 * [(0, 1, 2, 3)] + 3 * [(0, 1, 4, 5)] + 70 * [(0, 1, 2, 3, 4, 5)]:
        heads.step(chosen)
    heads.compare_states()


@pytest.mark.parametrize("row", ROWS)
def test_frozen_and_unfrozen_parameters_beside_passed_by_ones_make_the_steps_of_torch(row):
    heads = Heads(row)
    for frozen, chosen in (((), (0, 1, 2, 3)), ((0,), (1, 2, 3)), ((0, 1), (4, 5)), ((1,), (0, 5)), ((), (0, 1, 2))):
        for place, (mine, theirs) in enumerate(zip(heads.mine, heads.theirs, strict=True)):
            mine.requires_grad_(place not in frozen)
            theirs.requires_grad_(place not in frozen)
        heads.step(chosen)
        heads.compare_states()


@pytest.mark.parametrize("row", ROWS)
def test_a_setting_that_changes_between_steps_counts_from_the_next_one_as_in_torch(row):
    heads = Heads(row, grouped=True)
    for step, chosen in enumerate(SUBSETS[:3] + 6 * [(0, 1, 2, 3)]):
        for opt in (heads.opt, heads.other):
            opt.param_groups[step % 2]["lr"] *= 0.7 if step != 6 else 1.0
        heads.step(chosen)


@pytest.mark.parametrize("row", STATES)
def test_counts_that_differ_go_to_torch_and_back(row):
    heads = Heads(row)
    for chosen in SUBSETS[:3]:
        heads.step(chosen)
    state = heads.opt.state_dict()
    back = {
        "state": {n: {k: torch.as_tensor(v) for k, v in own.items()} for n, own in state["state"].items()},
        "param_groups": state["param_groups"],
    }
    fresh, other = optimizer(row, heads.mine, 0.1), optimizer(row, heads.theirs, 0.1, torch.optim)
    fresh.load_state_dict(heads.other.state_dict())
    other.load_state_dict(back)
    heads.opt, heads.other = fresh, other
    if row == "NAdam":  # its product is of float32 in torch, and of float64 once it was loaded
        heads.tolerance = 1e-7
    for chosen in SUBSETS[2:]:
        heads.step(chosen)
    heads.compare_states()


@pytest.mark.parametrize("change", [copy.deepcopy, lambda heads: pickle.loads(pickle.dumps(heads))])
@pytest.mark.parametrize("row", ROWS)
def test_a_copy_goes_on_with_the_count_of_each_parameter(row, change):
    heads = Heads(row)
    for chosen in SUBSETS[:3]:
        heads.step(chosen)
    _, opt = change((heads.model, heads.opt))
    heads.step(SUBSETS[7])
    for mine, other in zip(opt.parameters, heads.opt.parameters, strict=True):
        mine.grad = other.grad
    opt.step()
    for mine, other in zip(opt.parameters, heads.opt.parameters, strict=True):
        assert_array_equal(mine.data, other.data)


@pytest.mark.parametrize("row", ROWS)
def test_a_training_goes_on_with_the_count_of_each_parameter(row):
    """Parameters that were passed by are trained by the engine with a row of scalars for each count."""
    x, y = draw((23, 5), F64), draw((23, 3), F64, 1)
    ends = []
    for kind in (nn.MSELoss, type("Own", (nn.MSELoss,), {})):
        model = mlp(5, 4, 3, dtype=F64)
        other = twin(model)
        opt, theirs = optimizer(row, model.parameters(), 0.01), optimizer(row, other.parameters(), 0.01, torch.optim)
        for step, chosen in enumerate(((0, 1), (0, 3), (0,))):
            opt.zero_grad()
            theirs.zero_grad()
            for place, (mine, its) in enumerate(zip(model.parameters(), other.parameters(), strict=True)):
                if place in chosen:
                    mine.grad = draw(mine.shape, F64, step)
                    its.grad = tensor(mine.grad)
            opt.step()
            theirs.step()
        for part in range(2):
            history = fastbp.train_model(model, x, y, None, None, kind(), opt, 2, 10)
            assert history.backend == ("engine" if kind is nn.MSELoss else "modules")
            for start in 2 * (0, 10, 20):
                theirs.zero_grad()
                rows = slice(start, start + 10)
                torch.nn.functional.mse_loss(other(tensor(x[rows])), tensor(y[rows])).backward()
                theirs.step()
            for mine, its in zip(model.parameters(), other.parameters(), strict=True):
                assert_allclose(mine.data, its.detach().numpy(), rtol=0, atol=1e-12)
            first = next(model.parameters()), next(other.parameters())
            for one, by, to in zip((opt, theirs), first, (numpy.ones_like, torch.ones_like), strict=True):
                one.zero_grad()
                by.grad = to(by.data)
                one.step()
            assert opt.steps == 3 + 7 * (part + 1)
        ends.append([parameter.data.copy() for parameter in model.parameters()])
    for mine, its in zip(*ends, strict=True):
        assert_array_equal(mine, its)


@pytest.mark.parametrize("row", ROWS)
def test_scalars_that_somebody_asks_for_change_no_step(row):
    heads = Heads(row)
    for step in range(12):
        if step % 5 == 3:
            heads.opt.scalars(2)
        heads.step((0, 1, 2, 3))
        copy.deepcopy(heads.opt)
    heads.compare_states()


def test_a_closure_gives_the_gradients_of_its_step():
    layer = nn.Linear(3, 2, rng=0)
    opt = optim.SGD(layer.parameters(), lr=1.0)
    opt.step()
    before = layer.bias.data.copy()

    def closure():
        layer.weight.grad = layer.weight.data
        return 3.0

    assert opt.step(closure) == 3.0
    assert not layer.weight.data.any()
    assert_array_equal(layer.bias.data, before)


def test_norms_and_clips_are_of_the_gradients_that_there_are_as_in_torch():
    for chosen in ((), (0,), (1, 3), (0, 1, 2, 3)):
        model = mlp(5, 4, 3, dtype=F64)
        other = twin(model)
        for place, (mine, its) in enumerate(zip(model.parameters(), other.parameters(), strict=True)):
            if place in chosen:
                mine.grad = draw(mine.shape, F64, place)
                its.grad = tensor(mine.grad)
        for norm_type in (2.0, 3.0, numpy.inf):
            norm = clip_grad_norm_(model.parameters(), 0.7, norm_type)
            expected = torch.nn.utils.clip_grad_norm_(other.parameters(), 0.7, norm_type)
            assert_allclose(norm, float(expected), rtol=1e-13)
            assert norm or not chosen
        clip_grad_value_(model.parameters(), 0.1)
        if chosen:  # torch raises without a gradient
            torch.nn.utils.clip_grad_value_(other.parameters(), 0.1)
        for mine, its in zip(model.parameters(), other.parameters(), strict=True):
            assert (mine.grad is None) == (its.grad is None)
            if mine.grad is not None:
                assert_allclose(mine.grad, its.grad.numpy(), rtol=1e-14)


def test_a_clip_follows_gradients_that_come_go_and_move():
    layers = [nn.Linear(3, 4, rng=0, dtype=F64), nn.Linear(4, 2, rng=1, dtype=F64)]
    listed = [parameter for layer in layers for parameter in layer.parameters()]

    def expected():
        return numpy.sqrt(sum((parameter.grad**2).sum() for parameter in listed if parameter.grad is not None))

    for change in (
        lambda: [setattr(parameter, "grad", draw(parameter.shape, F64)) for parameter in listed],
        lambda: listed[1].zero_grad(),
        lambda: nn.Sequential(*layers),
        lambda: [setattr(parameter, "grad", parameter.data) for parameter in listed],
        lambda: layers[0].double() and nn.Sequential(layers[1], nn.Linear(2, 2, dtype=F64)),
        lambda: layers[1].zero_grad(),
    ):
        change()
        size = expected()
        for _ in range(2):
            assert_allclose(clip_grad_norm_(iter(listed), 1e9), size, rtol=1e-14)
        assert_allclose(clip_grad_norm_(listed, size / 2), size, rtol=1e-14)
        assert_allclose(expected(), size / 2, rtol=1e-5)


def test_gradients_of_two_dtypes_are_clipped_by_one_norm():
    one, two = nn.Linear(3, 2, rng=0), nn.Linear(3, 2, rng=1, dtype=F64)
    listed = [*one.parameters(), *two.parameters()]
    for parameter in listed:
        parameter.grad = parameter.data
    size = numpy.sqrt(sum((parameter.grad.astype("f8") ** 2).sum() for parameter in listed))
    assert_allclose(clip_grad_norm_(listed, size / 4), size, rtol=1e-7)
    assert_allclose(one.weight.grad, one.weight.data / 4, rtol=1e-5)
    assert_allclose(two.bias.grad, two.bias.data / 4, rtol=1e-5)


def test_a_clip_keeps_no_model_alive():
    one, two = mlp(3, 2), mlp(3, 2)
    for parameter in (*one.parameters(), *two.parameters()):
        parameter.grad = parameter.data
    clip_grad_norm_([*one.parameters(), *two.parameters()], 0.1)
    optim.Adam([*one.parameters(), *two.parameters()]).step()
    gone = weakref.ref(one), weakref.ref(two)
    gc.disable()
    try:
        del one, two, parameter
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()

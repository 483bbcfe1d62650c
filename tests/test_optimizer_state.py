"""What Adam remembers of each parameter: it follows the parameters wherever they move, into copies, files and torch."""

import copy
import pickle

import numpy
import pytest
import torch
from helpers import assert_same_parameters, draw, mlp, tensor, twin
from same_bits import OwnSGD

import fastbp
from fastbp import nn, optim

F32 = numpy.float32
X, TARGET = draw((12, 4), F32), draw((12, 3), F32, 1)


def step(model, opt, times=3):
    criterion = nn.MSELoss()
    for _ in range(times):
        opt.zero_grad()
        criterion(model(X), TARGET)
        model.backward(criterion.backward())
        opt.step()


def trained(times=3):
    model = mlp(4, 5, 3)
    opt = optim.Adam(model.parameters(), lr=0.01)
    step(model, opt, times)
    return model, opt


def values(model):
    return [parameter.data.copy() for parameter in model.parameters()]


@pytest.fixture
def expected():
    return values(trained(6)[0])


def assert_goes_on(model, opt, expected):
    step(model, opt)
    for mine, theirs in zip(values(model), expected, strict=True):
        numpy.testing.assert_array_equal(mine, theirs)


def test_state_follows_parameters_that_are_laid_out_anew(expected):
    model, opt = trained()
    nn.Sequential(nn.Linear(2, 4, rng=9), *model)
    assert_goes_on(model, opt, expected)


@pytest.mark.parametrize("order", [reversed, sorted], ids=["reversed", "by size"])
def test_the_order_of_the_parameters_does_not_change_a_bit(order, expected):
    model = mlp(4, 5, 3)
    parameters = list(model.parameters())
    chosen = order(parameters) if order is reversed else sorted(parameters, key=lambda p: p.size)
    opt = optim.Adam(chosen, lr=0.01)
    step(model, opt)
    assert_goes_on(model, opt, expected)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_go_on_by_themselves(duplicate, expected):
    pair = trained()
    model, opt = duplicate(pair)
    step(*pair, times=1)
    assert_goes_on(model, opt, expected)


def test_state_follows_parameters_into_another_dtype():
    model, opt = trained()
    before = opt.state_dict()["state"]
    model.double()
    for number, vectors in opt.state_dict()["state"].items():
        for name in ("exp_avg", "exp_avg_sq"):
            numpy.testing.assert_array_equal(vectors[name], before[number][name])
    opt.step()
    assert opt.state_dict()["state"][0]["exp_avg"].dtype == numpy.float64


def test_a_state_dict_goes_to_torch_and_back(expected):
    model, opt = trained()
    other = twin(model)
    theirs = torch.optim.Adam(other.parameters())
    state = opt.state_dict()
    vectors = {n: {name: torch.as_tensor(v) for name, v in own.items()} for n, own in state["state"].items()}
    theirs.load_state_dict({"state": vectors, "param_groups": state["param_groups"]})
    torch.nn.functional.mse_loss(other(tensor(X)), tensor(TARGET)).backward()
    theirs.step()
    step(model, opt, 1)
    assert_same_parameters(model, other)
    fresh, again = trained()[0], None
    again = optim.Adam(fresh.parameters())
    again.load_state_dict(trained()[1].state_dict())
    assert_goes_on(fresh, again, expected)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda state: state[0].pop("exp_avg"), "takes exp_avg, exp_avg_sq, step of each parameter, got not all for 0"),
        (lambda state: state[1].update(step=2.5), r"a whole number of steps for 1, got 2\.5"),
        (lambda state: state[0].update(exp_avg=numpy.zeros(3)), r"exp_avg of shape \(5, 4\) for 0, got float64 \(3,\)"),
        (lambda state: state[0].update(max_exp_avg_sq=numpy.zeros((5, 4))), "of each parameter, got exp_avg"),
    ],
    ids=["missing", "half a step", "other shape", "amsgrad's"],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(spoil, match, expected):
    model, opt = trained()
    state = opt.state_dict()
    spoil(state["state"])
    with pytest.raises(ValueError, match=match):
        opt.load_state_dict(state)
    assert_goes_on(model, opt, expected)


@pytest.mark.parametrize("by_modules", [False, True])
def test_a_training_goes_on_from_a_file_with_the_same_bits(tmp_path, by_modules):
    criterion = type("Own", (nn.MSELoss,), {}) if by_modules else nn.MSELoss
    whole, parts = mlp(4, 5, 3), mlp(4, 5, 3)
    data = (X, TARGET, X, TARGET)
    opt = optim.Adam(whole.parameters(), lr=0.01)
    history = fastbp.train_model(whole, *data, criterion(), opt, 6, 5, shuffle=True, rng=1)
    opt = optim.Adam(parts.parameters(), lr=0.01)
    first = fastbp.train_model(parts, *data, criterion(), opt, 2, 5, shuffle=True, rng=1)
    fastbp.save(tmp_path / "c", parts, opt, first)
    model, opt, first = fastbp.load(tmp_path / "c")
    assert (opt.steps, opt.betas, opt.eps, opt.weight_decay) == (6, (0.9, 0.999), 1e-8, 0.0)
    second = fastbp.train_model(model, *data, criterion(), opt, 6, 5, shuffle=True, rng=1, history=first)
    assert dict(second) == dict(history)
    for mine, theirs in zip(values(model), values(whole), strict=True):
        numpy.testing.assert_array_equal(mine, theirs)


def test_scalars_of_one_step_are_those_of_many():
    opt = optim.Adam(mlp(4, 5, 3).parameters(), lr=0.01, betas=(0.8, 0.97))
    many = opt.scalars(1000)
    for row in many:
        numpy.testing.assert_array_equal(opt.scalars(1)[0], row)
        opt.advance(1)


@pytest.mark.parametrize("wrong", [(0.9,), 0.9, (0.9, 1.0), (-0.1, 0.9), ("a", 0.9), (numpy.nan, 0.9)])
def test_betas_that_are_none_are_refused(wrong):
    opt = optim.Adam(nn.Linear(2, 2).parameters())
    with pytest.raises((TypeError, ValueError), match=r"^Adam takes "):
        opt.betas = wrong
    assert opt.betas == (0.9, 0.999)


def test_an_optimiser_of_a_users_own_class_is_trained_by_its_step():
    class OwnAdam(optim.Adam):
        def step(self, closure=None):
            self.called = True
            return super().step(closure)

    model = mlp(4, 5, 3)
    opt = OwnAdam(model.parameters(), lr=0.01)
    history = fastbp.train_model(model, X, TARGET, None, None, nn.MSELoss(), opt, 1, 5)
    assert history.backend == "modules"
    assert opt.called
    assert issubclass(OwnSGD, optim.Optimizer)


@pytest.mark.parametrize(
    ("target", "error", "match"),
    [
        (numpy.arange(12), ValueError, "takes train_target from 0 to 2 for 3 outputs, got 3"),
        (numpy.full(12, -1), ValueError, "takes train_target from 0 to 2 for 3 outputs, got -1"),
        (numpy.zeros((12, 1), int), ValueError, r"train_target of shape \(12,\), a class index for each row"),
        (TARGET, ValueError, "takes train_target from 0 to 1, got .*: they are probabilities of the classes"),
        (numpy.zeros(11, int), ValueError, "train_input and train_target take one row a sample each"),
    ],
    ids=["too large", "negative", "a column", "no probabilities", "a row less"],
)
def test_classes_that_are_none_are_refused_before_anything_changes(target, error, match):
    for criterion in (nn.CrossEntropyLoss, type("Own", (nn.CrossEntropyLoss,), {})):
        model = mlp(4, 5, 3)
        before = values(model)
        opt = optim.Adam(model.parameters())
        with pytest.raises(error, match=match):
            fastbp.train_model(model, X, target, None, None, criterion(), opt, 1, 5)
        for mine, theirs in zip(values(model), before, strict=True):
            numpy.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("size", [12, 1])
def test_classes_that_change_during_the_training_are_those_of_its_beginning(size):
    """An index that grew beyond the outputs would be read out of bounds."""
    target = numpy.arange(12) % 3
    ends = []
    for spoils in (False, True):
        model, given = mlp(4, 5, 3), target.copy()

        def change(history, given=given, spoils=spoils):
            given[:] = 2**40 if spoils else given

        opt = optim.SGD(model.parameters(), lr=0.01)
        fastbp.train_model(model, X, given, None, None, nn.CrossEntropyLoss(), opt, 3, size, progress=change)
        ends.append(values(model))
    for mine, theirs in zip(*ends, strict=True):
        numpy.testing.assert_array_equal(mine, theirs)

"""Losses and optimisers with methods of a user's own are what trains and validates."""

import copy

import numpy
import pytest
from helpers import mlp
from test_user_methods import F32, TARGET, X, counting

import fastbp
from fastbp import nn, optim
from fastbp.nn.losses import Loss
from fastbp.validation.user_methods import own_methods

LOSS_METHODS = ("forward", "__call__", "evaluate", "backward", "scale")


@pytest.mark.parametrize("way", ["subclass", "instance"])
@pytest.mark.parametrize("method", LOSS_METHODS)
def test_a_loss_with_a_method_of_its_own_trains_and_validates_by_it(method, way):
    calls = []
    if way == "subclass":
        criterion = counting(nn.MSELoss, method, calls)()
    else:
        criterion = nn.MSELoss()
        original = getattr(criterion, method)
        setattr(criterion, method, lambda *given: (calls.append(method), original(*given) * F32(2))[1])
    if method == "__call__" and way == "instance":
        assert own_methods(criterion) == ["__call__"], "Python does not look it up there, so the engine is not asked"
        return
    model, plain = mlp(4, 5, 4), mlp(4, 5, 4)
    opt = optim.SGD(model.parameters(), lr=0.0)
    history = fastbp.train_model(model, X, TARGET, X, TARGET, criterion, opt, 1, 12)
    assert method in calls
    assert history.backend == "modules"
    loss = nn.MSELoss()(plain.predict(X), TARGET)
    doubled = {"forward": (2, 2), "__call__": (2, 2), "evaluate": (1, 2), "backward": (1, 1), "scale": (2, 2)}[method]
    assert history["train_loss"] == [pytest.approx(doubled[0] * loss, rel=1e-6)]
    assert history["val_loss"] == [pytest.approx(doubled[1] * loss, rel=1e-6)]


@pytest.mark.parametrize("way", ["subclass", "instance"])
@pytest.mark.parametrize("method", ["step"])
def test_an_optimizer_with_a_method_of_its_own_trains_by_it(method, way):
    calls, model = [], mlp(4, 5, 4)
    if way == "subclass":
        opt = counting(optim.SGD, method, calls)(model.parameters(), lr=0.1)
    else:
        opt = optim.SGD(model.parameters(), lr=0.1)
        original = getattr(opt, method)
        setattr(opt, method, lambda: (calls.append(method), original())[0])
    history = fastbp.train_model(model, X, TARGET, None, None, nn.MSELoss(), opt, 1, 5)
    assert calls == [method] * 3
    assert history.backend == "modules"


@pytest.mark.parametrize("reduction", ["None", "Sum", None, 1])
def test_a_reduction_that_is_set_later_is_checked(reduction):
    criterion = nn.MSELoss()
    with pytest.raises(ValueError, match=rf"MSELoss takes reduction 'mean', 'sum' or 'none', got {reduction!r}"):
        criterion.reduction = reduction
    assert criterion.reduction == "mean"
    criterion.reduction = "sum"
    assert copy.deepcopy(criterion)(X, TARGET) == nn.MSELoss("sum")(X, TARGET)


def test_a_loss_of_the_users_own_on_the_base_class_is_evaluated_by_its_forward():
    class Absolute(Loss):
        def forward(self, prediction, target):
            self.sign = numpy.sign(prediction - target) / F32(target.size)
            return float(numpy.abs(prediction - target).mean())

        def backward(self):
            return self.sign

    model, criterion = mlp(4, 5, 4), Absolute()
    opt = optim.SGD(model.parameters(), lr=0.1)
    history = fastbp.train_model(model, X, TARGET, X, TARGET, criterion, opt, 20, 5)
    assert history["val_loss"][-1] == criterion(model.predict(X), TARGET)
    assert history["val_loss"][-1] < history["val_loss"][0]


def test_a_users_own_evaluate_stays():
    class Rounded(nn.MSELoss):
        def evaluate(self, prediction, target):
            return round(super().evaluate(prediction, target), 1)

    class Doubled(Rounded):
        def forward(self, prediction, target):
            return 2 * super().forward(prediction, target)

    expected = nn.MSELoss()(X, TARGET)
    assert Rounded().evaluate(X, TARGET) == round(expected, 1)
    assert Doubled().evaluate(X, TARGET) == round(2 * expected, 1)

"""A progress that changes what is being trained: the training stops there and says so, or takes it up."""

import threading

import numpy
import pytest
from helpers import draw, mlp

import fastbp
from fastbp import nn, optim

F32 = numpy.float32
X, TARGET = draw((20, 4), F32), draw((20, 3), F32, seed=1)


class OwnSGD(optim.SGD):
    """Trains module by module."""


def set_a_layer(model, criterion, opt):
    model[2] = nn.Linear(5, 3, rng=9)


def build_a_probe(model, criterion, opt):
    nn.Sequential(model[0], nn.Linear(5, 2))


def convert(model, criterion, opt):
    model.double()
    model.float()


def set_a_method(model, criterion, opt):
    model[1].forward = model[1].forward


def set_a_method_of_the_optimizer(model, criterion, opt):
    opt.step = opt.step


def set_the_reduction(model, criterion, opt):
    criterion.reduction = "sum"


CHANGES = [set_a_layer, build_a_probe, convert, set_a_method, set_a_method_of_the_optimizer, set_the_reduction]


@pytest.mark.parametrize("kind", [optim.SGD, OwnSGD])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_in_progress_stops_the_training_with_what_is_so_far(change, kind):
    if kind is OwnSGD and change in (set_a_method, set_a_method_of_the_optimizer):
        return  # which are called anyway
    model, criterion, history = mlp(4, 5, 3), nn.MSELoss(), fastbp.History()
    opt = kind(model.parameters(), lr=0.1)

    def progress(history):
        if history.epochs == 2:
            change(model, criterion, opt)

    with pytest.raises(RuntimeError, match=r"during the training, which stopped there; .*history="):
        fastbp.train_model(model, X, TARGET, None, None, criterion, opt, 5, 7, progress=progress, history=history)
    assert history.epochs == 2
    other = optim.SGD(model.parameters(), lr=0.1)
    fastbp.train_model(model, X, TARGET, X, TARGET, criterion, other, 1, 7)


def test_a_change_after_the_last_epoch_is_nobodys_matter():
    model, opt = mlp(4, 5, 3), None
    opt = optim.SGD(model.parameters(), lr=0.1)

    def progress(history):
        if history.epochs == 3:
            model[2] = nn.Linear(5, 3)

    assert fastbp.train_model(model, X, TARGET, None, None, nn.MSELoss(), opt, 3, 7, progress=progress).epochs == 3


def test_a_learning_rate_set_in_progress_is_taken_up():
    models = [mlp(4, 5, 3) for _ in range(2)]
    for model, kind in zip(models, (optim.SGD, OwnSGD), strict=True):
        opt = kind(model.parameters(), lr=0.1)

        def progress(history, opt=opt):
            for group in opt.param_groups:
                group["lr"] *= 0.5

        fastbp.train_model(model, X, TARGET, None, None, nn.MSELoss(), opt, 4, 7, progress=progress)
    for mine, theirs in zip(*(model.parameters() for model in models), strict=True):
        numpy.testing.assert_array_equal(mine.data, theirs.data)


def test_models_that_the_engine_does_not_know_predict_from_any_number_of_threads():
    model = nn.Sequential(nn.Tanh(), nn.Linear(4, 5, rng=0), nn.Tanh(), nn.ReLU(), nn.Linear(5, 3, rng=1))
    expected, wrong = model.predict(X), []

    def predict():
        for _ in range(200):
            if not numpy.array_equal(model.predict(X), expected):
                wrong.append(1)

    workers = [threading.Thread(target=predict) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong

"""Two threads that use one model: an error in the second, never another's numbers."""

import copy
import pickle
import threading
from contextlib import contextmanager

import numpy
import pytest
from helpers import assert_unchanged, draw, mlp, snapshot

import fastbp
from fastbp import nn, optim

X, TARGET = draw((20, 4), numpy.float32), draw((20, 3), numpy.float32, seed=1)
MATCH = "another thread is using this model"


class Waiting:
    """Stops the thread that comes by until it is let go."""

    def __init__(self):
        self.came, self.go = threading.Event(), threading.Event()

    def __call__(self, *_):
        self.came.set()
        assert self.go.wait(30)


class WaitingReLU(nn.ReLU):
    def __init__(self, wait):
        super().__init__()
        self.wait = wait

    def forward(self, input):
        self.wait()
        return super().forward(input)


@contextmanager
def in_another_thread(work, wait):
    """Run the block while another thread stands in ``work()``, at ``wait``."""
    errors = []

    def run():
        try:
            work()
        except BaseException as error:
            errors.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    assert wait.came.wait(30)
    try:
        yield
    finally:
        wait.go.set()
        worker.join()
    assert not errors


def train(model, progress=None, **options):
    opt = optim.SGD(model.parameters(), lr=0.01)
    return fastbp.train_model(model, X, TARGET, None, None, nn.MSELoss(), opt, 2, 5, progress=progress, **options)


def backward(model):
    model.backward(TARGET)


def step(model):
    optim.SGD(model.parameters(), lr=0.1).step()


def build_another(model):
    nn.Sequential(nn.Linear(4, 4), model)


CHANGES = {
    "train_model": train,
    "forward": lambda model: model(X),
    "backward": backward,
    "backward_parameters": lambda model: model.backward_parameters(TARGET),
    "zero_grad": lambda model: model.zero_grad(),
    "step": step,
    "step's zero_grad": lambda model: optim.SGD(model.parameters(), lr=0.1).zero_grad(),
    "load_state_dict": lambda model: model.load_state_dict(model.state_dict()),
    "state_dict": lambda model: model.state_dict(),
    "Sequential": build_another,
}


@pytest.mark.parametrize("call", CHANGES)
def test_a_second_thread_is_refused_while_one_trains(call):
    model, wait, history = mlp(4, 5, 3), Waiting(), fastbp.History()
    model(X)
    with in_another_thread(lambda: train(model, wait, history=history), wait):
        before = snapshot(model)
        with pytest.raises(RuntimeError, match=MATCH):
            CHANGES[call](model)
        assert_unchanged(model, before)
    alone = mlp(4, 5, 3)
    assert dict(train(alone)) == dict(history), "the first goes on as if nothing had been"
    model(X)
    CHANGES[call](model)


@pytest.mark.parametrize("call", CHANGES)
def test_a_second_thread_is_refused_while_one_runs_forward(call):
    wait = Waiting()
    model = nn.Sequential(nn.Linear(4, 3), WaitingReLU(wait))
    with in_another_thread(lambda: model(X), wait), pytest.raises(RuntimeError, match=MATCH):
        CHANGES[call](model)
    CHANGES[call](model)


@pytest.mark.parametrize("module", [nn.Linear(4, 4), nn.Tanh()], ids=repr)
@pytest.mark.parametrize("call", ["forward", "backward", "backward_parameters"])
def test_a_second_thread_is_refused_while_one_is_in_a_single_module(monkeypatch, module, call):
    wait = Waiting()
    module(X)
    with monkeypatch.context() as patch:
        patch.setattr("fastbp.nn.linear.linear_forward", wait)
        patch.setattr(type(module), "forward_kernel", wait, raising=False)
        with in_another_thread(lambda: module(X), wait):
            nn.Linear(2, 2)  # parameters of other models that move meanwhile change nothing
            with pytest.raises(RuntimeError, match=MATCH):
                getattr(module, call)(X)
    module(X)
    getattr(module, call)(X)


def test_a_prediction_while_another_thread_trains_is_refused():
    model, wait = mlp(4, 5, 3), Waiting()
    with in_another_thread(lambda: train(model, wait), wait), pytest.raises(RuntimeError, match=MATCH):
        model.predict(X)
    assert model.predict(X).shape == (20, 3)


def test_a_prediction_into_which_a_training_falls_is_refused(monkeypatch):
    model, wait, predicted = mlp(4, 5, 3), Waiting(), []
    model.predict(X)
    compute = model._predictor.predict

    def slow(rows):
        wait()
        return compute(rows)

    monkeypatch.setattr(model._predictor, "predict", slow)

    def work():
        with pytest.raises(RuntimeError, match=MATCH):
            predicted.append(model.predict(X))

    with in_another_thread(work, wait):
        step(model)
    assert not predicted


def test_a_prediction_beside_a_forward_is_right():
    wait, inner = Waiting(), mlp(4, 3)
    outer = nn.Sequential(inner, WaitingReLU(wait))
    expected = inner.predict(X)
    with in_another_thread(lambda: outer(X), wait):
        numpy.testing.assert_array_equal(inner.predict(X), expected)


def test_predictions_through_a_module_of_the_users_own_come_one_at_a_time():
    wait = Waiting()
    model = nn.Sequential(nn.Linear(4, 3), WaitingReLU(wait))
    with in_another_thread(lambda: model(X), wait), pytest.raises(RuntimeError, match=MATCH):
        model.predict(X)
    assert model.predict(X).shape == (20, 3)


def test_two_models_that_share_a_layer_are_refused_together():
    wait, shared = Waiting(), nn.Linear(4, 4)
    one = nn.Sequential(shared, WaitingReLU(wait))
    two = nn.Sequential(nn.Linear(4, 4), shared)
    with in_another_thread(lambda: one(X), wait), pytest.raises(RuntimeError, match=MATCH):
        two(X)
    two(X)


def test_a_model_without_parameters_is_guarded_too():
    wait = Waiting()
    model = nn.Sequential(WaitingReLU(wait))
    with in_another_thread(lambda: model(X), wait), pytest.raises(RuntimeError, match=MATCH):
        model(X)
    model(X)


def test_a_callback_uses_the_model_that_it_is_called_for():
    model, seen = mlp(4, 5, 3), []

    def look(history):
        seen.append((model.predict(X), model.forward(X).copy(), model.state_dict()))

    train(model, look)
    for prediction, output, _ in seen:
        numpy.testing.assert_array_equal(prediction, output)


def test_a_call_that_raises_gives_the_model_back():
    model = mlp(4, 5, 3)
    for call in (lambda: model(X[:, :2]), lambda: model.backward(X), lambda: train(model, 1 / 2, history=3)):
        with pytest.raises((ValueError, TypeError, RuntimeError)):
            call()
    worker = threading.Thread(target=train, args=(model,))
    worker.start()
    worker.join()
    train(model)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": pickle.dumps,
    "pickle of its optimiser": lambda model: pickle.dumps(optim.SGD(model.parameters(), lr=0.1)),
    "deepcopy of a part": lambda model: copy.deepcopy(model[0]),
}


@pytest.mark.parametrize("duplicate", COPIES)
def test_a_copy_while_another_thread_trains_is_refused(duplicate):
    model, wait = mlp(4, 5, 3), Waiting()
    with in_another_thread(lambda: train(model, wait), wait), pytest.raises(RuntimeError, match=MATCH):
        COPIES[duplicate](model)
    COPIES[duplicate](model)


class Pair(nn.Module):
    """Two layers, each with a storage of its own."""

    def __init__(self):
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickle.dumps])
def test_a_copy_into_which_a_step_falls_is_refused(monkeypatch, duplicate):
    """Not by chance, but between the two storages of the model."""
    model, reduce, storage = Pair(), nn.parameter.Storage.__reduce__, []

    def late(self):
        if storage and storage[0] is not self:
            step(model)
        storage.append(self)
        return reduce(self)

    monkeypatch.setattr(nn.parameter.Storage, "__reduce__", late)
    with pytest.raises(RuntimeError, match=MATCH):
        duplicate(model)


def test_a_copy_made_before_trains_beside_the_model():
    model, wait = mlp(4, 5, 3), Waiting()
    other = copy.deepcopy(model)
    with in_another_thread(lambda: train(model, wait), wait):
        train(other)

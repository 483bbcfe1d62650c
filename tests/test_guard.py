"""Two threads that use one model: the second waits, or gets an error while one trains; never another's numbers."""

import copy
import pickle
import threading
from contextlib import ExitStack, contextmanager

import numpy
import pytest
from helpers import assert_unchanged, draw, mlp, snapshot

import fastbp
from fastbp import nn, optim

X, TARGET = draw((20, 4), numpy.float32), draw((20, 3), numpy.float32, seed=1)
MATCH = "another thread is training or changing this model"


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


@contextmanager
def waiting(call):
    """Run the block while ``call()`` waits in a thread, and see it end well when the block has ended."""
    errors = []

    def run():
        try:
            call()
        except BaseException as error:
            errors.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    worker.join(0.05)
    assert worker.is_alive()
    yield
    worker.join(30)
    assert not worker.is_alive()
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


@contextmanager
def waiting_beside(work, wait, call):
    """See ``call()`` wait for a thread that stands in ``work()``, at ``wait``."""
    with ExitStack() as stack:
        with in_another_thread(work, wait):
            stack.enter_context(waiting(call))
        yield


@pytest.mark.parametrize("call", CHANGES)
def test_a_second_thread_waits_while_one_runs_forward(call):
    wait = Waiting()
    model = nn.Sequential(nn.Linear(4, 3), WaitingReLU(wait))
    if "backward" in call:
        wait.go.set()
        model(X)
        wait.go.clear()
        wait.came.clear()
    with waiting_beside(lambda: model(X), wait, lambda: CHANGES[call](model)):
        pass


@pytest.mark.parametrize("call", ["forward", "backward", "backward_parameters"])
def test_a_second_thread_waits_while_one_is_in_a_single_module(monkeypatch, call):
    wait, module = Waiting(), nn.Linear(4, 4)
    module(X)
    with monkeypatch.context() as patch:
        patch.setattr("fastbp.nn.linear.linear_forward", wait)
        with waiting_beside(lambda: module(X), wait, lambda: getattr(module, call)(X)):
            pass


def test_a_prediction_while_another_thread_trains_is_refused():
    model, wait = mlp(4, 5, 3), Waiting()
    with in_another_thread(lambda: train(model, wait), wait), pytest.raises(RuntimeError, match=MATCH):
        model.predict(X)
    assert model.predict(X).shape == (20, 3)


def test_a_prediction_into_which_a_step_falls_is_that_of_the_stepped_model(monkeypatch):
    model, wait, predicted = mlp(4, 5, 3), Waiting(), []
    model(X)
    model.backward(TARGET)
    model.predict(X)
    compute = model._predictor.predict

    def slow(rows):
        output = compute(rows)
        wait()
        return output

    monkeypatch.setattr(model._predictor, "predict", slow)
    with in_another_thread(lambda: predicted.append(model.predict(X)), wait):
        step(model)
    numpy.testing.assert_array_equal(predicted[0], compute(X))


def test_a_prediction_beside_a_forward_is_right():
    wait, inner = Waiting(), mlp(4, 3)
    outer = nn.Sequential(inner, WaitingReLU(wait))
    expected = inner.predict(X)
    with in_another_thread(lambda: outer(X), wait):
        numpy.testing.assert_array_equal(inner.predict(X), expected)


def test_predictions_through_a_module_of_the_users_own_come_one_at_a_time():
    wait = Waiting()
    model = nn.Sequential(nn.Linear(4, 3), WaitingReLU(wait))
    with waiting_beside(lambda: model(X), wait, lambda: model.predict(X)):
        pass
    assert model.predict(X).shape == (20, 3)


def test_two_models_that_share_a_layer_wait_for_each_other():
    wait, shared = Waiting(), nn.Linear(4, 4)
    one = nn.Sequential(shared, WaitingReLU(wait))
    two = nn.Sequential(nn.Linear(4, 4), shared)
    with waiting_beside(lambda: one(X), wait, lambda: two(X)):
        pass
    two(X)


def test_a_model_without_parameters_is_guarded_too():
    wait = Waiting()
    model = nn.Sequential(WaitingReLU(wait))
    with waiting_beside(lambda: model(X), wait, lambda: model(X)):
        pass
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

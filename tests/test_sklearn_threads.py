"""Threads that read an estimator while another one trains it."""

import copy
import pickle
import threading

import numpy
import pytest
from sklearn_cases import data

from fastbp.sklearn import MLPClassifier
from fastbp.sklearn.turns import Turns

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = data("digits")
READS = {
    "predict": lambda mlp: mlp.predict_proba(X[:5]),
    "predict many": lambda mlp: mlp.predict_proba(X),
    "deepcopy": lambda mlp: copy.deepcopy(mlp).predict_proba(X[:5]),
    "pickle": lambda mlp: pickle.loads(pickle.dumps(mlp)).predict_proba(X[:5]),
    "model_": lambda mlp: mlp.model_.predict is not None,
}


def run(*functions):
    """Let each function run in a thread of its own, and return the errors."""
    errors = []

    def caught(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=caught, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return errors


@pytest.mark.parametrize("replaced", [False, True], ids=["views", "arrays of others"])
@pytest.mark.parametrize("read", READS)
def test_reading_waits_and_training_goes_on(read, replaced):
    ours = MLPClassifier((30,), random_state=0, n_jobs=1, batch_size=20).partial_fit(X, y, classes=range(10))
    alone = copy.deepcopy(ours)
    if replaced and read != "model_":
        ours.coefs_ = [coef.copy() for coef in ours.coefs_]
    ended = threading.Event()

    def train():
        try:
            for _ in range(40):
                ours.partial_fit(X, y)
        finally:
            ended.set()

    def reads():
        while not ended.is_set():
            READS[read](ours)

    assert run(train, reads, reads) == []
    for _ in range(40):
        alone.partial_fit(X, y)
    for mine, other in zip(ours.coefs_, alone.coefs_, strict=True):
        numpy.testing.assert_array_equal(mine, other)


def test_a_copy_from_the_middle_of_a_training_is_whole():
    ours = MLPClassifier((8,), random_state=0, max_iter=300, n_iter_no_change=numpy.inf, n_jobs=1)
    started, copies = threading.Event(), []
    ours.set_params(progress=lambda mlp: started.set())

    def take():
        assert started.wait(30)
        copies.extend(pickle.loads(pickle.dumps(ours.set_params(progress=False))) for _ in range(5))

    assert run(lambda: ours.fit(X, y), take) == []
    for mlp in copies:
        assert mlp.n_iter_ == len(mlp.loss_curve_) > 0
        mlp.partial_fit(X, y)


def test_progress_may_wait_for_a_thread_that_predicts():
    def predict_elsewhere(mlp):
        assert run(lambda: mlp.predict(X), lambda: copy.deepcopy(mlp)) == []

    MLPClassifier((8,), max_iter=3, progress=predict_elsewhere).fit(X, y)


def test_trainings_of_one_estimator_come_one_after_the_other():
    ours = MLPClassifier((8,), random_state=0, n_jobs=1).partial_fit(X, y, classes=range(10))
    alone = copy.deepcopy(ours)
    train = lambda: [ours.partial_fit(X, y) for _ in range(10)]  # noqa: E731
    assert run(train, train) == []
    for _ in range(20):
        alone.partial_fit(X, y)
    numpy.testing.assert_array_equal(ours.coefs_[0], alone.coefs_[0])


def test_readers_that_wait_come_before_the_next_call():
    turns, order = Turns(), []
    started = threading.Event()

    def train():
        with turns.trainings, turns.lock:
            started.set()
            for _ in range(200):
                turns.give_way()
                if order:
                    break
                threading.Event().wait(0.005)
            order.append("training")

    def read():
        assert started.wait(10)
        with turns.reading():
            order.append("reading")

    assert run(train, read) == []
    assert order == ["reading", "training"]

"""The limit on BLAS's threads while SciPy's solver runs: taken back, whatever happens meanwhile."""

import threading

import pytest
from sklearn_cases import data
from threadpoolctl import threadpool_info, threadpool_limits

from fastbp.sklearn import MLPClassifier
from fastbp.sklearn.blas_threads import one_blas_thread
from fastbp.sklearn.epochs import Epochs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def three_threads():
    with threadpool_limits(3, user_api="blas"):
        assert blas_threads() == {3}
        yield


def test_blas_has_one_thread_and_then_as_many_as_before():
    with one_blas_thread():
        assert blas_threads() == {1}
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == {3}


def test_an_error_takes_the_limit_back():
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        raise ZeroDivisionError
    assert blas_threads() == {3}


def test_another_thread_changes_nothing_for_the_main_one():
    is_in, may_end = threading.Event(), threading.Event()

    def other():
        with one_blas_thread():
            is_in.set()
            assert may_end.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    assert is_in.wait(10)
    assert blas_threads() == {3}
    with one_blas_thread():
        may_end.set()
        thread.join()
        assert blas_threads() == {1}
    assert blas_threads() == {3}


def test_lbfgs_runs_under_it(monkeypatch):
    X, y = data("iris")
    seen = []
    evaluate = Epochs.loss_and_gradient
    monkeypatch.setattr(Epochs, "loss_and_gradient", lambda own: seen.append(blas_threads()) or evaluate(own))
    MLPClassifier(solver="lbfgs", max_iter=2).fit(X, y)
    assert seen
    assert all(threads == {1} for threads in seen)
    assert blas_threads() == {3}

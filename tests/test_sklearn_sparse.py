"""Sparse samples: the numbers of the dense ones, a few rows of which are in memory at a time."""

import tracemalloc

import numpy
import pytest
import scipy.sparse
from sklearn_cases import pair

from fastbp.sklearn import MLPClassifier, MLPRegressor, sparse_rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
rng = numpy.random.default_rng(0)
DENSE = numpy.where(rng.random((97, 23)) < 0.2, rng.standard_normal((97, 23)), 0.0)
OF_CLASSES = rng.integers(0, 3, 97)
OF_NUMBERS = DENSE[:, 0] - DENSE[:, 1]
WEIGHTS = rng.uniform(0.5, 2, 97)
OPTIONS = {"hidden_layer_sizes": (7, 5), "batch_size": 10, "max_iter": 6, "random_state": 0}


@pytest.fixture
def streamed(monkeypatch):
    """Let everything be too large, and hold 40 rows in memory."""
    monkeypatch.setattr(sparse_rows, "_AT_ONCE", 0)
    monkeypatch.setattr(sparse_rows, "_AT_A_TIME", 40 * 23)


def assert_same_bits(one, two):
    assert getattr(one, "loss_curve_", one.loss_) == getattr(two, "loss_curve_", two.loss_)
    for mine, other in zip(one.coefs_ + one.intercepts_, two.coefs_ + two.intercepts_, strict=True):
        numpy.testing.assert_array_equal(mine, other)


SETTINGS = {
    "adam": {},
    "in order": {"shuffle": False},
    "sgd": {"solver": "sgd"},
    "a mini-batch larger than what is in memory": {"batch_size": 60},
    "one mini-batch": {"batch_size": 97},
    "lbfgs": {"solver": "lbfgs"},
    "early stopping": {"early_stopping": True},
    "dropout": {"dropout": 0.3},
    "float32": {"dtype": "float32"},
    "without alpha": {"alpha": 0.0},
}


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weights"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_sparse_samples_are_trained_to_the_bits_of_dense_ones(setting, weights):
    for kind, target in ((MLPClassifier, OF_CLASSES), (MLPRegressor, OF_NUMBERS)):
        fits = [
            kind(**OPTIONS | SETTINGS[setting]).fit(X, target, weights)
            for X in (DENSE, scipy.sparse.csr_array(DENSE), scipy.sparse.csc_matrix(DENSE))
        ]
        assert_same_bits(fits[0], fits[1])
        assert_same_bits(fits[0], fits[2])


@pytest.mark.usefixtures("streamed")
def test_they_are_trained_as_in_scikit_learn():
    theirs, ours = pair(scipy.sparse.csr_matrix(DENSE), OF_CLASSES, **OPTIONS)
    numpy.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=0, atol=1e-9)


@pytest.mark.usefixtures("streamed")
def test_epochs_of_partial_fit_are_the_dense_ones():
    one, two = MLPRegressor(**OPTIONS), MLPRegressor(**OPTIONS)
    for _ in range(3):
        one.partial_fit(DENSE, OF_NUMBERS)
        two.partial_fit(scipy.sparse.csr_array(DENSE), OF_NUMBERS)
    assert_same_bits(one, two)


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array])
def test_predictions_of_sparse_samples_are_the_dense_ones(kind):
    ours = MLPClassifier(**OPTIONS).fit(DENSE, OF_CLASSES)
    numpy.testing.assert_array_equal(ours.predict_proba(kind(DENSE)), ours.predict_proba(DENSE))
    numpy.testing.assert_array_equal(ours.predict(kind(DENSE[:1])), ours.predict(DENSE[:1]))


def test_a_matrix_that_would_be_large_is_never_dense_as_a_whole():
    X = scipy.sparse.random_array((40_000, 500), density=0.002, rng=1, format="csr")  # 160 MB if it were dense
    y = numpy.asarray(X.sum(axis=1)).ravel()
    ours = MLPRegressor(hidden_layer_sizes=(4,), batch_size=2_000, max_iter=1)
    ours.fit(X[:2_000], y[:2_000])  # compiles
    tracemalloc.start()
    try:
        ours.fit(X, y)
        ours.predict(X)
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()

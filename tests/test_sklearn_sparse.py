"""Sparse samples: read by the first layer, with the bits of the dense ones."""

import tracemalloc

import numpy
import pytest
import scipy.sparse
from sklearn_cases import pair

import fastbp
from fastbp.sklearn import MLPClassifier, MLPRegressor, sparse_rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
rng = numpy.random.default_rng(0)
DENSE = numpy.where(rng.random((97, 23)) < 0.2, rng.standard_normal((97, 23)), 0.0)
OF_CLASSES = rng.integers(0, 3, 97)
OF_NUMBERS = DENSE[:, 0] - DENSE[:, 1]
WEIGHTS = rng.uniform(0.5, 2, 97)
OPTIONS = {"hidden_layer_sizes": (7, 5), "batch_size": 10, "max_iter": 6, "random_state": 0}


@pytest.fixture
def read(monkeypatch):
    """Let no matrix be made dense."""
    monkeypatch.setattr(sparse_rows, "_AT_ONCE", 0)


def assert_same_bits(one, two):
    assert getattr(one, "loss_curve_", one.loss_) == getattr(two, "loss_curve_", two.loss_)
    for mine, other in zip(one.coefs_ + one.intercepts_, two.coefs_ + two.intercepts_, strict=True):
        numpy.testing.assert_array_equal(mine, other)


SETTINGS = {
    "adam": {},
    "in order": {"shuffle": False},
    "sgd": {"solver": "sgd"},
    "layer norm": {"layer_norm": True},
    "one output": {"hidden_layer_sizes": (1,)},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "one mini-batch": {"batch_size": 97},
    "lbfgs": {"solver": "lbfgs"},
    "early stopping": {"early_stopping": True},
    "dropout": {"dropout": 0.3},
    "float32": {"dtype": "float32"},
    "without alpha": {"alpha": 0.0},
}


@pytest.mark.usefixtures("read")
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


@pytest.mark.usefixtures("read")
def test_they_are_trained_as_in_scikit_learn():
    theirs, ours = pair(scipy.sparse.csr_matrix(DENSE), OF_CLASSES, **OPTIONS)
    numpy.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=0, atol=1e-9)


@pytest.mark.usefixtures("read")
def test_epochs_of_partial_fit_are_the_dense_ones():
    one, two = MLPRegressor(**OPTIONS), MLPRegressor(**OPTIONS)
    for _ in range(3):
        one.partial_fit(DENSE, OF_NUMBERS)
        two.partial_fit(scipy.sparse.csr_array(DENSE), OF_NUMBERS)
    assert_same_bits(one, two)


@pytest.mark.usefixtures("read")
@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array])
def test_predictions_of_sparse_samples_are_the_dense_ones(kind):
    ours = MLPClassifier(**OPTIONS).fit(DENSE, OF_CLASSES)
    numpy.testing.assert_array_equal(ours.predict_proba(kind(DENSE)), ours.predict_proba(DENSE))
    numpy.testing.assert_array_equal(ours.predict(kind(DENSE[:1])), ours.predict(DENSE[:1]))


@pytest.mark.usefixtures("read")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("n", "features", "size"), [(300, 700, 129), (700, 300, 700), (600, 129, 257), (1100, 40, 1100)]
)
def test_sums_over_blocks_of_rows_and_of_columns_are_those_of_dense_samples(n, features, size, dtype, threads):
    X = scipy.sparse.random_array((n, features), density=0.05, rng=1, format="csr").astype(dtype)
    y = numpy.arange(n) % 2
    fastbp.set_num_threads(threads)
    fits = []
    for samples in (X.toarray(), X):
        fit = MLPClassifier(hidden_layer_sizes=(70, 5), batch_size=size, max_iter=3, random_state=0)
        fits.append(fit.fit(samples, y))
    assert_same_bits(*fits)
    numpy.testing.assert_array_equal(fits[0].predict_proba(X), fits[0].predict_proba(X.toarray()))


@pytest.mark.usefixtures("read")
def test_columns_that_are_not_in_order_or_come_twice_and_stored_zeros_are_taken():
    starts, columns = [0, 3, 3, 5, 6], [4, 0, 4, 2, 2, 1]
    X = scipy.sparse.csr_matrix((numpy.array([1.0, 2.0, -3.0, 0.5, 0.0, 0.0]), columns, starts), shape=(4, 5))
    before = [array.copy() for array in (X.data, X.indices, X.indptr)]
    fits = [MLPRegressor(**OPTIONS | {"batch_size": 3}).fit(samples, [0.0, 1, 2, 3]) for samples in (X, X.toarray())]
    assert_same_bits(*fits)
    for array, kept in zip((X.data, X.indices, X.indptr), before, strict=True):
        numpy.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array])
@pytest.mark.parametrize("fault", [{"indices": 5}, {"indices": -1}, {"indptr": 7}, {"indptr": -2}], ids=str)
def test_arrays_of_no_compressed_matrix_are_refused(fault, kind):
    fit = MLPRegressor(**OPTIONS | {"batch_size": 5}).fit(numpy.eye(5), numpy.arange(5.0))
    for call in (fit.predict, lambda X: fit.fit(X, numpy.arange(5.0))):
        X = kind(numpy.eye(5))
        for name, wrong in fault.items():
            getattr(X, name)[2] = wrong
        with pytest.raises(ValueError, match="sparse matrix"):
            call(X)


@pytest.mark.usefixtures("read")
def test_another_activation_of_the_outputs_is_trained_by_the_same_rows():
    fits = []
    for samples in (DENSE, scipy.sparse.csr_array(DENSE)):
        fits.append(MLPRegressor(**OPTIONS | {"warm_start": True}).fit(samples, OF_NUMBERS))
        fits[-1].out_activation_ = "tanh"
        fits[-1].fit(samples, OF_NUMBERS)
    assert_same_bits(*fits)


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

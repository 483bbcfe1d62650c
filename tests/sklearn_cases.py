"""scikit-learn's estimators beside fastbp's: data, and fits of the same arguments."""

import warnings
from functools import cache

import numpy
from sklearn import datasets, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

import fastbp.sklearn

OF_CLASSES = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
}
OF_NUMBERS = {"diabetes": datasets.load_diabetes}
ATTRIBUTES = (
    "n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_", "_no_improvement_count",
)  # fmt: skip


@cache
def data(name):
    """The first 300 samples, each feature scaled, and their targets."""
    X, y = (OF_CLASSES | OF_NUMBERS)[name](return_X_y=True)
    return StandardScaler().fit_transform(X)[:300], y[:300]


def several_labels():
    """Samples with up to three labels each."""
    X = numpy.random.default_rng(1).normal(size=(80, 6))
    return X, (X[:, :3] + 0.5 * X[:, 3:] > 0.2).astype(int)


def kind(y):
    """The name of the estimator for such targets."""
    return "MLPRegressor" if numpy.asarray(y).dtype.kind == "f" else "MLPClassifier"


def pair(X, y, *, calls=("fit",), fit=None, name=None, **options):
    """Both estimators after the same calls with the same arguments; the first is scikit-learn's."""
    made = []
    for library in (neural_network, fastbp.sklearn):
        estimator = getattr(library, name or kind(y))(**{"random_state": 0, **options})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for call in calls:
                getattr(estimator, call)(X, y, **(fit or {}))
        made.append(estimator)
    return made


def assert_same(theirs, ours, X, tolerance=1e-9):
    """The same course of the training, and the same predictions."""
    for name in ATTRIBUTES:
        if hasattr(theirs, name):
            assert getattr(ours, name) == getattr(theirs, name), name
    scale = max(1.0, abs(theirs.loss_))
    numpy.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=0, atol=tolerance * scale)
    if hasattr(theirs, "loss_curve_"):
        numpy.testing.assert_allclose(
            ours.loss_curve_, theirs.loss_curve_, rtol=0, atol=tolerance * max(theirs.loss_curve_[0], 1.0)
        )
        numpy.testing.assert_allclose(
            numpy.array(ours.validation_scores_, float), numpy.array(theirs.validation_scores_, float), atol=1e-9
        )
        for name in ("best_loss_", "best_validation_score_"):
            mine, other = getattr(ours, name), getattr(theirs, name)
            assert (mine is None) == (other is None)
            assert mine is None or abs(mine - other) <= tolerance * scale
    for mine, other in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
    if hasattr(theirs, "classes_"):
        numpy.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        numpy.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=100 * tolerance)
    else:
        expected = theirs.predict(X)
        numpy.testing.assert_allclose(ours.predict(X), expected, rtol=0, atol=100 * tolerance * abs(expected).max())
        assert ours.predict(X).shape == expected.shape

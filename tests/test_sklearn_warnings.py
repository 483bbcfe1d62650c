"""Warnings of the estimators: scikit-learn's words, categories and module, and the user's line."""

import warnings

import numpy
import pytest
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.pipeline import make_pipeline
from sklearn_cases import data

import fastbp.sklearn

X, y = data("iris")
SITUATIONS = {
    "not converged": ({"max_iter": 2}, y),
    "lbfgs": ({"max_iter": 2, "solver": "lbfgs"}, y),
    "few function calls": ({"max_fun": 2, "solver": "lbfgs"}, y),
    "batches": ({"batch_size": 1000, "max_iter": 2}, y),
    "column": ({"max_iter": 2}, y[:, None]),
}


def raised(library, options, target, name="MLPClassifier"):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        getattr(library, name)(random_state=0, **options).fit(X, target)
    return [(warning.category, str(warning.message)) for warning in caught]


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_words_are_scikit_learns(situation, name):
    options, target = SITUATIONS[situation]
    assert (found := raised(fastbp.sklearn, options, target, name)) == raised(neural_network, options, target, name)
    assert found


@pytest.mark.parametrize("category", [ConvergenceWarning, UserWarning, DataConversionWarning])
def test_filters_by_scikit_learns_module_apply(category):
    for library in (neural_network, fastbp.sklearn):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", category=category, module="sklearn")
            library.MLPClassifier(max_iter=2, batch_size=1000).fit(X, y[:, None])
        assert not any(issubclass(warning.category, category) for warning in caught)


def test_a_warning_names_the_line_that_called_fit():
    for mlp in (fastbp.sklearn.MLPClassifier(max_iter=2), make_pipeline(fastbp.sklearn.MLPClassifier(max_iter=2))):
        with pytest.warns(ConvergenceWarning) as caught:
            mlp.fit(X, y)
        assert caught[0].filename == __file__


def test_a_warning_that_is_an_error_leaves_the_trained_numbers():
    ours = fastbp.sklearn.MLPClassifier(max_iter=2, random_state=0)
    with pytest.raises(ConvergenceWarning):
        ours.fit(X, y)
    assert ours.n_iter_ == 2
    assert numpy.isfinite(ours.predict_proba(X)).all()

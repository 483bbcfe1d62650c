"""scikit-learn's checks of estimators: of the networks without an expected failure, of the ensembles with its own."""

from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastbp.sklearn import BaggingClassifier, BaggingRegressor, MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("default"),  # the checks look for warnings themselves, or leave them
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
# What passes over these estimators, and why.
NOT_ASKED = {
    "check_array_api_input": "of arrays that are not NumPy's, where SCIPY_ARRAY_API is set",
    "check_classifiers_multilabel_output_format_decision_function": "scikit-learn's MLPs have no decision_function",
}
# What fails for any ensemble on samples that are drawn by their weights, scikit-learn's own included.
DRAWN = ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data")


@parametrize_with_checks([MLPClassifier(), MLPRegressor()])
def test_the_estimators_are_scikit_learns(estimator, check):
    if check.func.__name__ not in NOT_ASKED:
        check(estimator)
        return
    with pytest.raises(SkipTest):
        check(estimator)


def ensembles():
    """Of networks that learn soon: scikit-learn's checks train ensembles by the hundred."""
    options = {"hidden_layer_sizes": (20,), "max_iter": 60, "learning_rate_init": 0.02}
    return [
        BaggingClassifier(MLPClassifier(**options), n_estimators=3),
        BaggingRegressor(MLPRegressor(**options), n_estimators=3),
    ]


@parametrize_with_checks(ensembles())
def test_the_ensembles_are_scikit_learns(estimator, check):
    name = check.func.__name__
    if name in DRAWN:
        with pytest.raises(AssertionError):
            check(estimator)
    elif name in NOT_ASKED:
        with pytest.raises(SkipTest):
            check(estimator)
    else:
        check(estimator)

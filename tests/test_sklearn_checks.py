"""scikit-learn's checks of estimators, for both classes, without an expected failure."""

from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastbp.sklearn import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("default"),  # the checks look for warnings themselves, or leave them
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
# What passes over these estimators, and why.
NOT_ASKED = {
    "check_array_api_input": "of arrays that are not NumPy's, where SCIPY_ARRAY_API is set",
    "check_classifiers_multilabel_output_format_decision_function": "scikit-learn's MLPs have no decision_function",
}


@parametrize_with_checks([MLPClassifier(), MLPRegressor()])
def test_the_estimators_are_scikit_learns(estimator, check):
    if check.func.__name__ not in NOT_ASKED:
        check(estimator)
        return
    with pytest.raises(SkipTest):
        check(estimator)

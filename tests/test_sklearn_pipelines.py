"""The estimators where scikit-learn's are used: in pipelines, searches, ensembles, files and data frames."""

import pickle
import threading
import warnings

import joblib
import numpy
import pandas
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV, cross_val_score, cross_validate
from sklearn.neural_network import MLPClassifier as Theirs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn_cases import data

import fastbp
from fastbp.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = data("iris")
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 8, "learning_rate_init": 0.02, "random_state": 0}


def classifier(**options):
    return MLPClassifier(**{**SMALL, **options})


def test_in_a_pipeline_behind_a_scaler():
    ours, theirs = (make_pipeline(StandardScaler(), kind(**SMALL)).fit(X, y) for kind in (MLPClassifier, Theirs))
    numpy.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-9)
    assert ours.score(X, y) == theirs.score(X, y)


def test_behind_columns_of_a_data_frame():
    frame = pandas.DataFrame(X, columns=list("abcd")).assign(kind=numpy.where(X[:, 0] > 0, "large", "small"))
    columns = ColumnTransformer([("numbers", StandardScaler(), list("abcd")), ("words", OneHotEncoder(), ["kind"])])
    ours, theirs = (make_pipeline(clone(columns), kind(**SMALL)).fit(frame, y) for kind in (MLPClassifier, Theirs))
    numpy.testing.assert_allclose(ours.predict_proba(frame), theirs.predict_proba(frame), rtol=0, atol=1e-9)
    assert ours[-1].n_features_in_ == 6


def test_names_of_features_are_kept_and_asked_for():
    frame = pandas.DataFrame(X, columns=list("abcd"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours = classifier().fit(frame, y)
        ours.predict(frame)
    assert list(ours.feature_names_in_) == list("abcd")
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        ours.predict(X)
    with pytest.raises(ValueError, match="feature names"):
        ours.predict(frame[list("dcba")])


def test_frames_go_through_a_pipeline_that_is_set_to_give_them():
    pipeline = make_pipeline(StandardScaler(), classifier()).set_output(transform="pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    pipeline.fit(frame, y)
    assert list(pipeline[-1].feature_names_in_) == list("abcd")
    assert pipeline.predict(frame).shape == y.shape


GRID = {"alpha": [1e-4, 1.0], "activation": ["relu", "tanh"]}


def test_a_grid_search_in_processes_finds_what_scikit_learns_finds():
    searches = [
        GridSearchCV(kind(**SMALL), GRID, cv=2, n_jobs=jobs).fit(X, y)
        for kind, jobs in ((MLPClassifier, 2), (Theirs, 1))
    ]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    numpy.testing.assert_array_equal(*scores)
    assert searches[0].best_params_ == searches[1].best_params_


def test_a_grid_search_in_threads_finds_the_same_with_one_thread_each():
    used = []

    def note(estimator):
        used.append((threading.current_thread() is threading.main_thread(), fastbp.get_num_threads()))

    with joblib.parallel_backend("threading", n_jobs=2):
        search = GridSearchCV(classifier(progress=note), GRID, cv=2, refit=False).fit(X, y)
    alone = GridSearchCV(classifier(), GRID, cv=2, refit=False).fit(X, y)
    numpy.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    assert set(used) == {(False, 1)}


def test_workers_share_the_cores():
    counts = joblib.Parallel(n_jobs=2)(joblib.delayed(fastbp.get_num_threads)() for _ in range(2))
    assert set(counts) == {max(1, joblib.cpu_count() // 2)}


def test_a_halving_search_goes_by_epochs():
    search = HalvingRandomSearchCV(
        classifier(), {"alpha": [1e-4, 1e-2, 1.0]}, resource="max_iter", min_resources=3, max_resources=9,
        n_candidates=3, cv=2, random_state=0,
    )  # fmt: skip
    assert search.fit(X, y).best_estimator_.max_iter == 9


def test_probabilities_are_calibrated():
    calibrated = CalibratedClassifierCV(classifier(), cv=2).fit(X, y)
    numpy.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)


def test_the_importance_of_features_is_found():
    found = permutation_importance(classifier(max_iter=40).fit(X, y), X, y, n_repeats=2, random_state=0)
    assert found.importances_mean.max() > 0.05


def test_votes_are_counted_beside_scikit_learns():
    members = [("one", classifier()), ("two", Theirs(**SMALL))]
    votes = VotingClassifier(members, voting="soft").fit(X, y)
    expected = Theirs(**SMALL).fit(X, y).predict_proba(X)
    numpy.testing.assert_allclose(votes.predict_proba(X), expected, rtol=0, atol=1e-9)


def test_a_clone_is_not_fitted():
    ours = clone(classifier(class_weight="balanced").fit(X, y))
    assert ours.get_params()["class_weight"] == "balanced"
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError, match="This MLPClassifier instance is not fitted yet"):
            getattr(ours, method)(X)
    with pytest.raises(NotFittedError):
        ours.model_  # noqa: B018


@pytest.mark.parametrize("way", ["pickle", "joblib"])
def test_a_copy_from_a_file_predicts_and_trains_on(way, tmp_path):
    for make, target in ((MLPClassifier, y), (MLPRegressor, X[:, 0])):
        ours = make(**SMALL).fit(X, target)
        if way == "pickle":
            copy = pickle.loads(pickle.dumps(ours))
        else:
            joblib.dump(ours, tmp_path / "estimator")
            copy = joblib.load(tmp_path / "estimator")
        numpy.testing.assert_array_equal(copy.predict(X), ours.predict(X))
        for estimator in (ours, copy):
            estimator.partial_fit(X, target)
            assert numpy.shares_memory(estimator.coefs_[0], estimator.model_[0].weight.data)
        for mine, other in zip(ours.coefs_, copy.coefs_, strict=True):
            numpy.testing.assert_array_equal(mine, other)


def test_weights_of_samples_are_routed():
    weights = numpy.linspace(0.1, 2, len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        asks = classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        found = cross_validate(asks, X, y, cv=2, params={"sample_weight": weights})["test_score"]
        with pytest.raises(ValueError, match="sample_weight"):
            cross_validate(classifier(), X, y, cv=2, params={"sample_weight": weights})
        theirs = Theirs(**SMALL).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        expected = cross_validate(theirs, X, y, cv=2, params={"sample_weight": weights})["test_score"]
    numpy.testing.assert_allclose(found, expected, rtol=1e-12)


def test_scores_of_a_cross_validation_are_scikit_learns():
    for scoring in ("accuracy", "neg_log_loss", "roc_auc_ovr"):
        ours, theirs = (
            cross_val_score(kind(**SMALL), X, y, cv=3, scoring=scoring) for kind in (MLPClassifier, Theirs)
        )
        numpy.testing.assert_allclose(ours, theirs, rtol=1e-9)

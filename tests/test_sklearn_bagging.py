"""Ensembles of networks on bootstrap samples: scikit-learn's samples, seeds and answers, by threads of the engine."""

import _thread
import pickle
import threading
import warnings

import joblib
import numpy
import pytest
import scipy.sparse
from sklearn import ensemble, neural_network
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn_cases import data

import fastbp
from fastbp.sklearn import BaggingClassifier, BaggingRegressor, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = data("iris")
NUMBERS = X @ [1.0, -2.0, 0.5, 0.0] + 0.1 * X[:, 0] ** 2
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 8, "learning_rate_init": 0.02}
SETTINGS = {
    "defaults": {},
    "few samples": {"max_samples": 40},
    "without replacement": {"bootstrap": False, "max_samples": 0.5},
    "some features": {"max_features": 2},
    "features more than once": {"bootstrap_features": True},
    "out of the bag": {"oob_score": True, "n_estimators": 12},
}


def bag(library, kind, member=None, members=None, **options):
    """An ensemble of 4 members, of ``library``'s or of ``members``' networks."""
    member = member or getattr(members or library, f"MLP{kind}")(**SMALL)
    made = getattr(library, f"Bagging{kind}")
    return made(member, **{"n_estimators": 4, "random_state": 3, **options})


def pairs(kind, **options):
    """scikit-learn's ensemble of scikit-learn's networks, the same of fastbp's, and fastbp's ensemble."""
    theirs = bag(ensemble, kind, members=neural_network, **options)
    return theirs, bag(ensemble, kind, members=fastbp.sklearn, **options), bag(fastbp.sklearn, kind, **options)


def assert_same_members(one, two):
    for mine, other in zip(one.estimators_, two.estimators_, strict=True):
        assert mine.random_state == other.random_state
        for a, b in zip(mine.coefs_ + mine.intercepts_, other.coefs_ + other.intercepts_, strict=True):
            numpy.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("setting", SETTINGS)
def test_classifiers_answer_as_in_scikit_learns_ensemble(setting):
    theirs, same, ours = (each.fit(X, y) for each in pairs("Classifier", **SETTINGS[setting]))
    assert_same_members(ours, same)
    for name in ("estimators_samples_", "estimators_features_"):
        numpy.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    for method in ("predict_proba", "predict_log_proba", "predict"):
        numpy.testing.assert_array_equal(getattr(ours, method)(X), getattr(same, method)(X))
        numpy.testing.assert_allclose(getattr(ours, method)(X), getattr(theirs, method)(X), rtol=0, atol=1e-9)
    if ours.oob_score:
        assert ours.oob_score_ == theirs.oob_score_
        numpy.testing.assert_allclose(
            ours.oob_decision_function_, theirs.oob_decision_function_, rtol=0, atol=1e-9, equal_nan=True
        )


@pytest.mark.parametrize("setting", SETTINGS)
def test_regressors_answer_as_in_scikit_learns_ensemble(setting):
    theirs, same, ours = (each.fit(X, NUMBERS) for each in pairs("Regressor", **SETTINGS[setting]))
    assert_same_members(ours, same)
    numpy.testing.assert_array_equal(ours.predict(X), same.predict(X))
    numpy.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=0, atol=1e-9)
    if ours.oob_score:
        assert ours.oob_score_ == pytest.approx(theirs.oob_score_, abs=1e-9)
        numpy.testing.assert_allclose(ours.oob_prediction_, theirs.oob_prediction_, rtol=0, atol=1e-9)


def test_members_are_those_that_are_fitted_alone():
    ours = bag(fastbp.sklearn, "Classifier", n_jobs=2).fit(X, y)
    for member, rows in zip(ours.estimators_, ours.estimators_samples_, strict=True):
        alone = MLPClassifier(**SMALL, random_state=member.random_state)
        alone.fit(X, y, numpy.bincount(rows, minlength=len(y)))
        numpy.testing.assert_array_equal(alone.coefs_[0], member.coefs_[0])
        assert alone.loss_curve_ == member.loss_curve_


def test_the_number_of_threads_changes_no_bit():
    one, *more = (bag(fastbp.sklearn, "Regressor", n_jobs=jobs).fit(X, NUMBERS) for jobs in (1, 2, 3, None))
    for other in more:
        assert_same_members(one, other)


def test_members_are_trained_side_by_side_by_one_thread_each():
    met, seen = threading.Barrier(2, timeout=30), []

    def meet(mlp):
        if mlp.n_iter_ == 1 and len(seen) < 2:
            seen.append((threading.get_ident(), fastbp.sklearn.base.threads_for(None)))
            met.wait()  # until another member has trained an epoch too

    member = MLPClassifier(**SMALL, progress=meet)
    bag(fastbp.sklearn, "Classifier", member, n_estimators=2, n_jobs=2).fit(X, y)
    assert len({thread for thread, _ in seen}) == 2
    assert {threads for _, threads in seen} == {1}


def test_the_spread_of_the_members_is_returned():
    ours = bag(fastbp.sklearn, "Regressor").fit(X, NUMBERS)
    mean, std = ours.predict(X, return_std=True)
    each = numpy.stack([member.predict(X) for member in ours.estimators_])
    numpy.testing.assert_array_equal(mean, ours.predict(X))
    numpy.testing.assert_allclose(std, each.std(axis=0), rtol=1e-12)
    far = ours.predict(10 * X, return_std=True)[1]
    assert far.mean() > 3 * std.mean()


def test_several_outputs_have_a_spread_each():
    targets = numpy.stack([NUMBERS, -NUMBERS], axis=1)
    mean, std = bag(fastbp.sklearn, "Regressor").fit(X, targets).predict(X, return_std=True)
    assert mean.shape == std.shape == targets.shape


def test_the_networks_are_an_ensemble_of_fastbp():
    ours = bag(fastbp.sklearn, "Regressor").fit(X, NUMBERS)
    assert isinstance(ours.ensemble_, fastbp.Ensemble)
    for found, expected in zip(ours.ensemble_.predict_std(X), ours.predict(X, return_std=True), strict=True):
        numpy.testing.assert_allclose(found[:, 0], expected, rtol=0, atol=1e-12)
    assert ours.ensemble_.models[0] is ours.estimators_[0].model_


def test_what_is_no_ensemble_of_networks_tells_why():
    with pytest.raises(NotFittedError):
        BaggingClassifier().ensemble_  # noqa: B018
    with pytest.raises(AttributeError, match="members that take all features"):
        bag(fastbp.sklearn, "Classifier", max_features=2).fit(X, y).ensemble_  # noqa: B018
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**SMALL))
    ours = bag(fastbp.sklearn, "Classifier", pipeline).fit(X, y)
    with pytest.raises(AttributeError, match=r"ensemble_ needs members of fastbp\.sklearn, got Pipeline"):
        ours.ensemble_  # noqa: B018


def test_members_that_never_saw_a_class_give_it_no_probability():
    member, options = make_pipeline(StandardScaler(), MLPClassifier(**SMALL)), {"n_estimators": 5, "max_samples": 6}
    theirs, ours = (bag(each, "Classifier", member, **options).fit(X, y) for each in (ensemble, fastbp.sklearn))
    assert any(len(each.classes_) == 2 for each in ours.estimators_)
    numpy.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))
    numpy.testing.assert_array_equal(ours.predict_log_proba(X), theirs.predict_log_proba(X))


def test_members_without_probabilities_vote():
    theirs, ours = (bag(each, "Classifier", RidgeClassifier()).fit(X, y) for each in (ensemble, fastbp.sklearn))
    numpy.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))
    numpy.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_the_default_is_scikit_learns_mlp():
    assert type(BaggingClassifier(n_estimators=1).fit(X, y).estimators_[0]) is MLPClassifier
    ours = BaggingRegressor(n_estimators=1, random_state=0).fit(X, NUMBERS)
    assert type(ours.estimators_[0]) is MLPRegressor


def test_a_warm_start_adds_members():
    whole = bag(fastbp.sklearn, "Classifier").fit(X, y)
    ours = bag(fastbp.sklearn, "Classifier", n_estimators=2, warm_start=True).fit(X, y)
    first = ours.estimators_[0]
    ours.set_params(n_estimators=4).fit(X, y)
    assert ours.estimators_[0] is first
    assert_same_members(ours, whole)


def test_weights_of_samples_draw_them_more_often():
    weights = numpy.where(y == 0, 1.0, 0.0)
    weights[y == 1] = 1e-3
    theirs, _, ours = (each.fit(X, y, weights) for each in pairs("Classifier"))
    numpy.testing.assert_array_equal(ours.estimators_samples_, theirs.estimators_samples_)
    numpy.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-9)


def test_sparse_samples_and_labels_by_name():
    names = numpy.array(["a", "b", "c"])[y]
    dense = bag(fastbp.sklearn, "Classifier").fit(X, names)
    ours = bag(fastbp.sklearn, "Classifier").fit(scipy.sparse.csr_matrix(X), names)
    assert_same_members(ours, dense)
    numpy.testing.assert_array_equal(ours.predict(scipy.sparse.csr_matrix(X)), dense.predict(X))


def test_a_search_and_a_copy():
    member = MLPClassifier(**SMALL)
    search = GridSearchCV(BaggingClassifier(member, 2, random_state=0), {"estimator__alpha": [1e-4, 1.0]}, cv=2)
    with joblib.parallel_backend("threading", n_jobs=2):
        search.fit(X, y)
    copy = pickle.loads(pickle.dumps(search.best_estimator_))
    numpy.testing.assert_array_equal(copy.predict_proba(X), search.predict_proba(X))
    assert not hasattr(clone(copy), "estimators_")


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupt_ends_all_members_soon(jobs):
    member = MLPClassifier(**{**SMALL, "max_iter": 10**7, "n_iter_no_change": numpy.inf})
    ours = bag(fastbp.sklearn, "Classifier", member, n_jobs=jobs)
    before = threading.active_count()
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyboardInterrupt):
            ours.fit(X, y)
    timer.join()
    for _ in range(100):
        if threading.active_count() <= before:
            break
        threading.Event().wait(0.1)
    assert threading.active_count() <= before
    assert not ours.estimators_
    ours.set_params(estimator=MLPClassifier(**SMALL)).fit(X, y)
    assert len(ours.estimators_) == 4


def test_an_error_of_a_member_is_the_ensembles():
    with pytest.raises(ValueError, match="The 'alpha' parameter of MLPClassifier must be"):
        bag(fastbp.sklearn, "Classifier", MLPClassifier(alpha=-1), n_jobs=2).fit(X, y)

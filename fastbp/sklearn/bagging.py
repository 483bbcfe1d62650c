"""Bagging: many networks, each on a bootstrap sample, trained side by side on threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np
from joblib import parallel_backend
from sklearn import ensemble
from sklearn.utils.validation import check_is_fitted, validate_data

from fastbp.ensemble import Ensemble
from fastbp.runtime.interrupts import stop_thread_by
from fastbp.runtime.threads import threads_limited
from fastbp.sklearn.base import threads_for
from fastbp.sklearn.blas_threads import one_blas_thread
from fastbp.sklearn.classifier import MLPClassifier
from fastbp.sklearn.regressor import MLPRegressor
from fastbp.sklearn.stochastic import interrupts_pass
from fastbp.validation.arrays import Array

_PATIENCE = 2.0  # seconds for a thread to come to the end of a mini-batch, or of what a member does before it trains


class _Workers:
    """The threads that train members for one call of ``fit``."""

    def __init__(self) -> None:
        self._caller, self._threads, self._stop = threading.current_thread(), set[threading.Thread](), threading.Event()

    def enter(self) -> None:
        """Count this thread as one of them."""
        thread = threading.current_thread()
        if thread is not self._caller:
            self._threads.add(thread)
            stop_thread_by(self._stop)

    def stop(self) -> None:
        """Let them end at a finished mini-batch, and wait for that: joblib leaves them to themselves."""
        self._stop.set()
        for thread in list(self._threads):  # another may come in
            thread.join(_PATIENCE)


class _OnThreads:
    """What the two ensembles have beside scikit-learn's, which draws the samples and keeps the members."""

    n_jobs: int | None
    estimators_: list[Any]
    estimators_features_: list[Array]
    _workers: _Workers | None = None

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> Any:
        """Train the members, each by one thread.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), or None
            By which samples are drawn more often, as in scikit-learn.

        Returns
        -------
        self

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C, at a finished mini-batch; the members of an earlier ``fit`` are gone.
        """
        threads = threads_for(self.n_jobs)
        self._workers = workers = _Workers()
        token = interrupts_pass.set(True)
        try:
            with threads_limited(threads), one_blas_thread(), parallel_backend("threading", n_jobs=threads):
                return super().fit(X, y, sample_weight=sample_weight, **fit_params)  # type: ignore[misc]
        except BaseException:
            workers.stop()
            raise
        finally:
            interrupts_pass.reset(token)
            del self._workers

    def _make_estimator(self, append: bool = True, random_state: Any = None) -> Any:
        """Return a member to be trained by this thread."""
        if self._workers is not None:
            self._workers.enter()
        return super()._make_estimator(append, random_state)  # type: ignore[misc]

    @property
    def ensemble_(self) -> Ensemble:
        """The members' networks, which share their parameters; of classifiers the outputs are logits.

        Raises
        ------
        AttributeError
            If the members are not all fastbp's, or take some of the features only.
        """
        check_is_fitted(self)
        if not all(isinstance(member, MLPClassifier | MLPRegressor) for member in self.estimators_):
            kind = type(self.estimators_[0]).__name__
            raise AttributeError(f"ensemble_ needs members of fastbp.sklearn, got {kind}; take estimators_")
        if not all(map(self._takes_all, self.estimators_features_)):
            raise AttributeError("ensemble_ needs members that take all features: max_features=1.0; take estimators_")
        return Ensemble(member.model_ for member in self.estimators_)

    def _takes_all(self, features: Array) -> bool:
        """Whether these are all features in their order."""
        return np.array_equal(features, np.arange(self.n_features_in_))  # type: ignore[attr-defined]

    def _of_members(self, method: str, X: Any) -> Iterator[Array]:
        """Yield what each member returns for samples; each is computed by all threads."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=None, ensure_all_finite=False, reset=False)
        for member, features in zip(self.estimators_, self.estimators_features_, strict=True):
            yield getattr(member, method)(X if self._takes_all(features) else X[:, features])


class BaggingClassifier(_OnThreads, ensemble.BaggingClassifier):  # type: ignore[misc]
    """Classifiers that are each trained on a bootstrap sample, and average their probabilities.

    As ``sklearn.ensemble.BaggingClassifier``, whose parameters and attributes are described there: with the same
    ``random_state`` the samples, the members' seeds and the results are the same. This is what there is besides.

    Parameters
    ----------
    estimator : estimator or None
        What the members are copies of, such as ``fastbp.sklearn.MLPClassifier`` or a pipeline that ends with one; None
        takes ``fastbp.sklearn.MLPClassifier()``.
    n_jobs : int or None
        How many members are trained at a time, each by one thread. None takes ``fastbp.get_num_threads()``, and one
        outside of the main thread.

    Attributes
    ----------
    ensemble_ : fastbp.Ensemble
        The members' networks, with logits as outputs.
    """

    def _get_estimator(self) -> Any:
        return MLPClassifier() if self.estimator is None else self.estimator

    def predict_proba(self, X: Any) -> Array:
        """Return the means of the members' probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        if not self._members_have("predict_proba"):  # then they vote
            votes: Array = super().predict_proba(X)
            return votes
        total: Array = sum(self._of_classes("predict_proba", X, 0.0), start=np.zeros((1, 1)))
        return total / len(self.estimators_)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of ``predict_proba``."""
        if not self._members_have("predict_log_proba"):
            return np.log(self.predict_proba(X))
        total: Array = reduce(np.logaddexp, self._of_classes("predict_log_proba", X, -np.inf))
        total -= np.log(len(self.estimators_))
        return total

    def _members_have(self, method: str) -> bool:
        check_is_fitted(self)
        return all(hasattr(member, method) for member in self.estimators_)

    def _of_classes(self, method: str, X: Any, missing: float) -> Iterator[Array]:
        """Yield the members' answers with a column for every class: ``missing`` for one that a member never saw."""
        for member, answer in zip(self.estimators_, self._of_members(method, X), strict=True):
            seen = len(member.classes_)
            answer = answer[:, :seen]  # of a single class networks give two probabilities
            if seen < self.n_classes_:
                whole = np.full((len(answer), self.n_classes_), missing)
                whole[:, member.classes_] = answer
                answer = whole
            yield answer


class BaggingRegressor(_OnThreads, ensemble.BaggingRegressor):  # type: ignore[misc]
    """Regressors that are each trained on a bootstrap sample, and average their predictions.

    As ``sklearn.ensemble.BaggingRegressor``, whose parameters and attributes are described there: with the same
    ``random_state`` the samples, the members' seeds and the results are the same. This is what there is besides.

    Parameters
    ----------
    estimator : estimator or None
        What the members are copies of, such as ``fastbp.sklearn.MLPRegressor`` or a pipeline that ends with one; None
        takes ``fastbp.sklearn.MLPRegressor()``.
    n_jobs : int or None
        As ``BaggingClassifier`` takes it.

    Attributes
    ----------
    ensemble_ : fastbp.Ensemble
        The members' networks.
    """

    def _get_estimator(self) -> Any:
        return MLPRegressor() if self.estimator is None else self.estimator

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the means of the members' predictions, and how far they agree.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        return_std : bool
            Whether to return the standard deviation over the members too; it divides by their number.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs), or a pair of them
        """
        members = self._of_members("predict", X)
        if not return_std:
            return sum(members) / len(self.estimators_)
        each = np.stack(list(members))
        return each.mean(axis=0), each.std(axis=0)

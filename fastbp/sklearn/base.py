"""What the classifier and the regressor share: their parameters, fitting, and the outputs of the network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from math import isfinite
from operator import index
from typing import Any, ClassVar

import numpy as np
from joblib import effective_n_jobs
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastbp import optim
from fastbp.nn.losses.kernel_loss import KernelLoss
from fastbp.runtime.threads import get_num_threads, threads_limited
from fastbp.sklearn.epochs import Epochs
from fastbp.sklearn.from_attributes import FromAttributes, predictions
from fastbp.sklearn.lbfgs import fit_lbfgs
from fastbp.sklearn.leaving import leave
from fastbp.sklearn.loss_terms import loss_terms
from fastbp.sklearn.network import Network, build_network, draw_parameters
from fastbp.sklearn.optimizers import BaseOptimizer
from fastbp.sklearn.other_outputs import OtherOutputs
from fastbp.sklearn.outputs import apply_output
from fastbp.sklearn.sparse_rows import rows_of
from fastbp.sklearn.stochastic import Split, fit_stochastic
from fastbp.validation.arrays import FLOAT_DTYPES, Array


def is_stochastic(mlp: BaseMLP) -> bool:
    """Whether there is a ``partial_fit``."""
    if mlp.solver not in ("sgd", "adam"):
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {mlp.solver} is not stochastic."
        )
    return True


def threads_for(n_jobs: int | None) -> int:
    """Return how many threads may train: for None one where several estimators may be fitting side by side."""
    if n_jobs is not None:
        return int(effective_n_jobs(n_jobs))
    return get_num_threads() if threading.current_thread() is threading.main_thread() else 1


class BaseMLP(FromAttributes, BaseEstimator):  # type: ignore[misc]
    """A network with scikit-learn's parameters and attributes, which the engine trains.

    Parameters and public attributes are the estimator, and are read anew by every call; see ``FromAttributes``.
    """

    _parameter_constraints: ClassVar[dict[str, Any]]
    _optimizer: BaseOptimizer | None = None
    loss: str | KernelLoss

    # Written by ``fit``.
    n_iter_: int
    t_: int
    loss_: float
    loss_curve_: list[float]
    validation_scores_: Any
    best_loss_: Any
    best_validation_score_: Any
    _no_improvement_count: int
    n_outputs_: int
    out_activation_: str

    def _keep(self, parameters: dict[str, Any]) -> None:
        """Keep the constructor's arguments, as they came."""
        for name, value in parameters.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train the network on the samples.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            A sparse matrix is read as it is by the first layer.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Classes, indicators of several labels, or numbers.
        sample_weight : array-like of shape (n_samples,), or None
            By which the loss of each sample is multiplied.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, incremental: bool) -> Any:
        turns = self._turns
        with turns.trainings, turns.lock:
            self._fit_alone(X, y, sample_weight, incremental)
        return self

    def _fit_alone(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> None:
        hidden = self.hidden_layer_sizes
        hidden = list(hidden) if isinstance(hidden, Iterable) else [hidden]
        if any(size <= 0 for size in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        if self.optimizer is None and self.solver not in ("sgd", "adam", "lbfgs"):
            raise ValueError(f"{type(self).__name__} takes solver as 'lbfgs', 'sgd' or 'adam', got {self.solver!r}")
        is_first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._validate_input(X, y, incremental, is_first)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        y = y.reshape(-1, 1) if y.ndim == 1 else y
        self.n_outputs_ = y.shape[1]
        units = [X.shape[1], *map(index, hidden), self.n_outputs_]
        self._random_state = check_random_state(self.random_state)
        if is_first:
            self._begin(units, X.dtype)
        is_lbfgs = self.solver == "lbfgs" and self.optimizer is None
        self._require_layers(units, exactly=is_lbfgs)
        with threads_limited(threads_for(self.n_jobs)):
            if is_lbfgs:
                fit_lbfgs(self, X, y, sample_weight)
            else:
                fit_stochastic(self, X, y, sample_weight, incremental=incremental)
        if not all(np.isfinite(array).all() for array in (*self.coefs_, *self.intercepts_)):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )

    def _begin(self, layer_units: list[int], dtype: np.dtype[Any]) -> None:
        """Make a new network, and the attributes of a training that has not begun."""
        self.n_layers_ = len(layer_units)
        self.out_activation_ = self._out_activation()
        network = build_network(layer_units, self._settings, dtype, self._random_state)
        draw_parameters(network, self.activation, self._random_state)
        self._publish(network)
        self._begin_training()

    def _begin_training(self) -> None:
        """Set the attributes of a training that has not begun."""
        self.n_iter_ = self.t_ = 0
        if self.early_stopping:
            self._best_coefs = [coef.copy() for coef in self.coefs_]
            self._best_intercepts = [intercept.copy() for intercept in self.intercepts_]
        if self.solver == "lbfgs" and self.optimizer is None:
            return
        self.loss_curve_ = []
        self._no_improvement_count = 0
        stops = self.early_stopping
        self.best_loss_, self.best_validation_score_ = (None, -np.inf) if stops else (np.inf, None)
        self.validation_scores_ = [] if stops else None

    def _other_optimizer(self) -> Callable[..., Any] | None:
        """Return what builds an optimiser that is not scikit-learn's, or None."""
        given: Callable[..., Any] | str | None = self.optimizer
        if not isinstance(given, str):
            return given
        kinds = {name.lower(): name for name in optim.__all__ if isinstance(getattr(optim, name), type)}
        kind = kinds.get(given.lower())
        if kind is None or not issubclass(getattr(optim, kind), optim.Optimizer):
            raise ValueError(f"optimizer takes one of fastbp.optim by its name or a callable, got {given!r}")
        build: Callable[..., Any] = getattr(optim, kind)
        return build

    def _epochs(
        self, network: Network, X: Any, y: Array, sample_weight: Array | None, batch_size: int, steps: Any = None
    ) -> Epochs | OtherOutputs:
        """Return what trains the network on samples, or computes their gradient."""
        rows = rows_of(X, network.model, network.dtype) if issparse(X) else X.astype(network.dtype, copy=False)
        weights = self._weights_of_loss(y, sample_weight)
        if self._knows_output():
            terms = loss_terms(self.loss, self.out_activation_, rows, y, weights)
            epochs = Epochs(network, terms, batch_size, self.alpha, steps, type(self).__name__)
            epochs.between_calls = self._turns.give_way
            return epochs
        return OtherOutputs(network, rows, y, weights, self.loss, self.out_activation_, batch_size, self.alpha, steps)

    def _weights_of_loss(self, y: Array, sample_weight: Array | None) -> Array | None:
        """Return by which the loss of each sample is multiplied."""
        return sample_weight

    def _knows_output(self) -> bool:
        """Whether ``out_activation_`` is one that the engine's loss has in itself."""
        return self.out_activation_ == self._out_activation()

    def _outputs(self, X: Any, *, check_input: bool = True) -> Array:
        """Return the network's outputs (n, n_outputs), before ``out_activation_``, in a new array."""
        own = self.__dict__
        would_pass = (
            type(X) is np.ndarray
            and X.dtype in FLOAT_DTYPES
            and X.ndim == 2
            and X.shape[0]
            and X.shape[1] == own.get("n_features_in_")
            and "feature_names_in_" not in own
            and isfinite(np.vdot(X, X))
        )
        if not would_pass and check_input:
            check_is_fitted(self)
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        network = self._held()
        try:
            if network is not None and would_pass and X.dtype == network.dtype:
                outputs: Array = network.model.predict(X)
                return outputs
            if network is not None and self._computes_in(X.dtype, network) == network.dtype:
                return predictions(network, X)
        except RuntimeError:  # another thread trains
            pass
        check_is_fitted(self)
        with self._turns.reading():
            return predictions(self._predicting(X.dtype), X)

    def _activated(self, X: Any, *, check_input: bool = True) -> Array:
        """Return the outputs after ``out_activation_``."""
        outputs = self._outputs(X, check_input=check_input)
        return apply_output(self.out_activation_, outputs)

    def _leave(self) -> tuple[Any, dict[str, Any]]:
        """Return what ``fastbp.to_onnx`` and its like write down: see ``fastbp.sklearn.leaving``."""
        check_is_fitted(self)
        with self._turns.reading():
            return leave(self, self._current_network())

    def _data_dtypes(self) -> Any:
        """Return what scikit-learn's validation may convert the samples to."""
        return (np.float64, np.float32) if self.dtype is None else np.dtype(self.dtype)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _out_activation(self) -> str:
        raise NotImplementedError

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Array]:
        raise NotImplementedError

    def _scorer(self, split: Split) -> Callable[[], float]:
        """Return what computes the score of the samples that were set aside."""
        raise NotImplementedError

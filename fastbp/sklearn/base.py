"""What the classifier and the regressor share: their parameters, fitting, and the outputs of the network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from math import isfinite
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
from fastbp.sklearn.lbfgs import fit_lbfgs
from fastbp.sklearn.loss_terms import LossTerms, loss_terms
from fastbp.sklearn.network import Network, build_network, draw_parameters
from fastbp.sklearn.optimizers import BaseOptimizer
from fastbp.sklearn.outputs import apply_output
from fastbp.sklearn.sparse_rows import predict, rows_of
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


class BaseMLP(BaseEstimator):  # type: ignore[misc]
    """A network with scikit-learn's parameters and attributes, which the engine trains.

    ``coefs_`` and ``intercepts_`` are views of the parameters of ``model_``. What is put in their place is taken into a
    new network when it is needed.
    """

    _parameter_constraints: ClassVar[dict[str, Any]]
    _network: Network | None = None
    _optimizer: BaseOptimizer | None = None
    loss: str | KernelLoss

    # Written by ``fit``.
    coefs_: list[Array]
    intercepts_: list[Array]
    n_iter_: int
    t_: int
    loss_: float
    loss_curve_: list[float]
    validation_scores_: Any
    best_loss_: Any
    best_validation_score_: Any
    _no_improvement_count: int
    _best_parameters: Array
    n_outputs_: int
    n_layers_: int
    out_activation_: str

    def _keep(self, parameters: dict[str, Any]) -> None:
        """Keep the constructor's arguments, as they came."""
        for name, value in parameters.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    @property
    def model_(self) -> Any:
        """The network, an ``nn.Sequential`` whose outputs are logits where there are classes.

        Its parameters are the estimator's: training it changes the estimator.
        """
        check_is_fitted(self)
        return self._current_network().model

    def __sklearn_is_fitted__(self) -> bool:
        return "coefs_" in vars(self)

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
        hidden = self.hidden_layer_sizes
        hidden = list(hidden) if isinstance(hidden, Iterable) else [hidden]
        if any(size <= 0 for size in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        is_first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._validate_input(X, y, incremental, is_first)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        y = y.reshape(-1, 1) if y.ndim == 1 else y
        self.n_outputs_ = y.shape[1]
        self._random_state = check_random_state(self.random_state)
        if is_first:
            self._begin([X.shape[1], *map(int, hidden), self.n_outputs_], X.dtype)
        with threads_limited(threads_for(self.n_jobs)):
            if self.solver == "lbfgs" and self.optimizer is None:
                fit_lbfgs(self, X, y, sample_weight)
            else:
                fit_stochastic(self, X, y, sample_weight, incremental=incremental)
        if not all(np.isfinite(array).all() for array in (*self.coefs_, *self.intercepts_)):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )
        return self

    def _begin(self, layer_units: list[int], dtype: np.dtype[Any]) -> None:
        """Make a new network, and the attributes of a training that has not begun."""
        self.n_layers_ = len(layer_units)
        self.out_activation_ = self._out_activation()
        random_state = self._random_state
        seed = int(random_state.randint(1 << 31)) if self.dropout else None
        network = build_network(
            layer_units, self.activation, dtype, dropout=self.dropout, layer_norm=self.layer_norm, seed=seed
        )
        draw_parameters(network, self.activation, random_state)
        self._hold(network)
        self._best_parameters = network.linears[0].weight.storage.data.copy()
        self._begin_training()

    def _begin_training(self) -> None:
        """Set the attributes of a training that has not begun."""
        self.n_iter_ = self.t_ = 0
        if self.solver == "lbfgs" and self.optimizer is None:
            return
        self.loss_curve_ = []
        self._no_improvement_count = 0
        stops = self.early_stopping
        self.best_loss_, self.best_validation_score_ = (None, -np.inf) if stops else (np.inf, None)
        self.validation_scores_ = [] if stops else None

    def _hold(self, network: Network) -> None:
        self._network, self._optimizer = network, None
        self.coefs_, self.intercepts_ = list(network.coefs), list(network.intercepts)

    def _current_network(self) -> Network:
        """Return the network, a new one where others have been put in the place of its parameters."""
        network = self._network
        if network is None or not network.holds(self.coefs_, self.intercepts_):
            coefs = [np.asarray(coef) for coef in self.coefs_]
            dtype = np.dtype(np.float32 if coefs[0].dtype == np.float32 else np.float64)
            units = [coefs[0].shape[0], *(coef.shape[1] for coef in coefs)]
            network = build_network(units, self.activation, dtype)
            network.put(coefs, self.intercepts_)
            self._hold(network)
        return network

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

    def _loss_terms(self, X: Any, y: Array, sample_weight: Array | None) -> LossTerms:
        network = self._current_network()
        rows = rows_of(X, network.model, network.dtype) if issparse(X) else X.astype(network.dtype, copy=False)
        return loss_terms(self.loss, self.out_activation_, rows, y, sample_weight)

    def _outputs(self, X: Any, *, check_input: bool = True) -> Array:
        """Return the network's outputs (n, n_outputs), before ``out_activation_``, in a new array."""
        own = self.__dict__
        network: Network | None = own.get("_network")
        if (
            network is not None
            and type(X) is np.ndarray
            and X.dtype in FLOAT_DTYPES
            and X.ndim == 2
            and X.shape[0]
            and X.shape[1] == own["n_features_in_"]
            and "feature_names_in_" not in own
            and network.holds(own["coefs_"], own["intercepts_"])
            and isfinite(np.vdot(X, X))
        ):
            return network.model.predict(X.astype(network.dtype, copy=False))  # scikit-learn's checks would pass
        check_is_fitted(self)
        network = self._current_network()
        if check_input:
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        if issparse(X):
            return predict(network.model, X, network.dtype)
        return network.model.predict(np.asarray(X).astype(network.dtype, copy=False))

    def _activated(self, X: Any, *, check_input: bool = True) -> Array:
        """Return the outputs after ``out_activation_``."""
        outputs = self._outputs(X, check_input=check_input)
        return apply_output(self.out_activation_, outputs)

    def _data_dtypes(self) -> Any:
        """Return what scikit-learn's validation may convert the samples to."""
        return (np.float64, np.float32) if self.dtype is None else np.dtype(self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        network = self._network
        if network is not None and "coefs_" in state and network.holds(self.coefs_, self.intercepts_):
            state = {name: value for name, value in state.items() if name not in ("coefs_", "intercepts_")}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "coefs_" not in state and self._network is not None:  # which are views of it
            network = self._network
            self.coefs_, self.intercepts_ = list(network.coefs), list(network.intercepts)

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

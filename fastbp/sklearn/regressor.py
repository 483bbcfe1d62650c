"""The regressor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils.validation import validate_data

from fastbp.sklearn.base import BaseMLP
from fastbp.sklearn.constraints import OF_REGRESSOR
from fastbp.sklearn.sklearn_warnings import as_column
from fastbp.sklearn.stochastic import Split
from fastbp.validation.arrays import Array


class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """A fully connected network that predicts numbers, as ``sklearn.neural_network.MLPRegressor``.

    Parameters, attributes and results are scikit-learn's, and described there; this is what there is besides.

    Parameters
    ----------
    loss : str or a loss of ``fastbp.nn``
        Besides "squared_error" and "poisson" "absolute_error", "huber", "smooth_absolute_error", or such as
        ``fastbp.nn.QuantileLoss(0.9)``: summed over the outputs and averaged over the samples.
    activation, dropout, layer_norm, optimizer, dtype, n_jobs, progress
        As ``MLPClassifier`` takes them.

    Attributes
    ----------
    model_ : nn.Sequential
        The network. ``coefs_`` and ``intercepts_`` are views of its parameters.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = OF_REGRESSOR

    def __init__(
        self, loss: Any = "squared_error", hidden_layer_sizes: Any = (100,), activation: str = "relu", *,
        solver: str = "adam", alpha: float = 0.0001, batch_size: Any = "auto", learning_rate: str = "constant",
        learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
        random_state: Any = None, tol: float = 1e-4, verbose: Any = False, warm_start: bool = False,
        momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
        validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
        n_iter_no_change: float = 10, max_fun: int = 15000, dropout: float = 0.0, layer_norm: bool = False,
        optimizer: Any = None, dtype: Any = None, n_jobs: int | None = None, progress: Any = False,
    ) -> None:  # fmt: skip
        self._keep(locals())

    def _out_activation(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Array]:
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=True,
            dtype=self._data_dtypes(),
            reset=reset,
        )
        return X, as_column(y) if y.ndim == 2 and y.shape[1] == 1 else y

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train for one epoch, from where the last one ended; the arguments are those of ``fit``.

        "lbfgs" goes on for ``max_iter`` iterations, as in scikit-learn.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the predictions for samples.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return _flat(self._activated(X))

    def _scorer(self, split: Split) -> Callable[[], float]:
        def score() -> float:
            predicted = _flat(self._activated(split.val_X, check_input=False))
            if not np.isfinite(predicted).all():
                return float("nan")
            return float(r2_score(split.val_y, predicted, sample_weight=split.val_weights))

        return score


def _flat(outputs: Array) -> Array:
    return outputs.ravel() if outputs.shape[1] == 1 else outputs

"""The solver "lbfgs": SciPy's, over all samples at once."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import issparse
from sklearn.exceptions import ConvergenceWarning

from fastbp.sklearn.blas_threads import one_blas_thread
from fastbp.sklearn.epochs import Epochs
from fastbp.validation.arrays import Array

if TYPE_CHECKING:
    from fastbp.sklearn.base import BaseMLP


def fit_lbfgs(mlp: BaseMLP, X: Any, y: Array, sample_weight: Array | None) -> None:
    """Minimise the loss of all samples; ``n_iter_`` and ``loss_`` of ``mlp`` are written."""
    network = mlp._current_network()
    terms = mlp._loss_terms(X.toarray() if issparse(X) else X, y, sample_weight)
    with Epochs(network, terms, len(terms.inputs), mlp.alpha, None, type(mlp).__name__) as epochs:

        def evaluate(values: Array) -> tuple[float, Array]:
            network.put_packed(values)
            loss = epochs.loss_and_gradient()
            return loss, network.packed_gradient()

        options = {"maxfun": mlp.max_fun, "maxiter": mlp.max_iter, "gtol": mlp.tol}
        with one_blas_thread():
            result = minimize(evaluate, network.packed(), method="L-BFGS-B", jac=True, options=options)
    network.put_packed(result.x)
    mlp.n_iter_ = min(result.nit, mlp.max_iter)
    mlp.loss_ = float(result.fun)
    if result.status:
        _warn(result, mlp.n_iter_, mlp.max_iter)


def _warn(result: Any, iterations: int, max_iter: int) -> None:
    lines = [f"lbfgs failed to converge after {iterations} iteration(s) (status={result.status}):", result.message]
    if iterations == max_iter:
        lines.append(f"More iterations may help: max_iter={max_iter}.")
    lines.append("So may data of one scale: https://scikit-learn.org/stable/modules/preprocessing.html")
    warnings.warn("\n".join(lines), ConvergenceWarning, stacklevel=6)  # who called ``fit``


def loss_and_gradient(mlp: BaseMLP, packed: Array, X: Any, y: Array, sample_weight: Array | None) -> Any:
    """Return the loss at the parameters ``packed``, and its gradient in their order."""
    network = mlp._current_network()
    network.put_packed(np.asarray(packed))
    terms = mlp._loss_terms(X, y, sample_weight)
    with Epochs(network, terms, len(terms.inputs), mlp.alpha, None, type(mlp).__name__) as epochs:
        return epochs.loss_and_gradient(), network.packed_gradient()

"""The solver "lbfgs": SciPy's, over all samples at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from fastbp.sklearn.blas_threads import one_blas_thread
from fastbp.sklearn.sklearn_warnings import warn
from fastbp.validation.arrays import Array

if TYPE_CHECKING:
    from fastbp.sklearn.base import BaseMLP


def fit_lbfgs(mlp: BaseMLP, X: Any, y: Array, sample_weight: Array | None) -> None:
    """Minimise the loss of all samples; ``n_iter_`` and ``loss_`` of ``mlp`` are written."""
    network = mlp._current_network()
    network = network.copy(np.dtype(np.float64) if mlp.dtype is None else network.dtype)
    with mlp._epochs(network, X, y, sample_weight, X.shape[0]) as epochs:

        def evaluate(values: Array) -> tuple[float, Array]:
            network.put_packed(values)
            loss = epochs.loss_and_gradient()
            return loss, network.packed_gradient()

        options = {"maxfun": mlp.max_fun, "maxiter": mlp.max_iter, "gtol": mlp.tol}
        with one_blas_thread():
            result = minimize(evaluate, network.packed(), method="L-BFGS-B", jac=True, options=options)
    network.put_packed(result.x)
    mlp._replace_items(network)
    mlp.n_iter_ = min(result.nit, mlp.max_iter)
    mlp.loss_ = float(result.fun)
    if result.status:
        _warn(result, mlp.n_iter_, mlp.max_iter)


def _warn(result: Any, iterations: int, max_iter: int) -> None:
    lines = [f"lbfgs failed to converge after {iterations} iteration(s) (status={result.status}):", result.message]
    if iterations == max_iter:
        lines += ["", f"Increase the number of iterations to improve the convergence (max_iter={max_iter})."]
    else:
        lines.append("")
    lines.append("You might also want to scale the data as shown in:")
    lines.append("    https://scikit-learn.org/stable/modules/preprocessing.html")
    warn("\n".join(lines), ConvergenceWarning)


def loss_and_gradient(mlp: BaseMLP, packed: Array, X: Any, y: Array, sample_weight: Array | None) -> Any:
    """Return the loss at the parameters ``packed``, and its gradient in their order."""
    network = mlp._current_network()
    network.put_packed(np.asarray(packed))
    with mlp._epochs(network, X, y, sample_weight, X.shape[0]) as epochs:
        return epochs.loss_and_gradient(), network.packed_gradient()

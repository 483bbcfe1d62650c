"""What the parameters of the estimators may be, in scikit-learn's form, so that its own errors tell what is wrong."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from fastbp.nn.losses.kernel_loss import KernelLoss
from fastbp.sklearn.loss_terms import LOSSES
from fastbp.sklearn.network import ACTIVATIONS

_AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")
_AT_LEAST_ZERO = Interval(Real, 0, None, closed="left")
_ABOVE_ZERO = Interval(Real, 0, None, closed="neither")
_BELOW_ONE = Interval(Real, 0, 1, closed="left")

OF_BOTH: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", _AT_LEAST_ONE],
    "activation": [StrOptions(set(ACTIVATIONS))],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
    "alpha": [_AT_LEAST_ZERO],
    "batch_size": [StrOptions({"auto"}), _AT_LEAST_ONE],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [_ABOVE_ZERO],
    "power_t": [_AT_LEAST_ZERO],
    "max_iter": [_AT_LEAST_ONE],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [_AT_LEAST_ZERO],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [_BELOW_ONE],
    "beta_1": [_BELOW_ONE],
    "beta_2": [_BELOW_ONE],
    "epsilon": [_ABOVE_ZERO],
    "n_iter_no_change": [_AT_LEAST_ONE, Options(Real, {np.inf})],
    "max_fun": [_AT_LEAST_ONE],
    # Beyond scikit-learn's.
    "dropout": [_BELOW_ONE],
    "layer_norm": ["boolean"],
    "optimizer": [None, str, callable],
    "dtype": [None, StrOptions({"float32", "float64"}), type, np.dtype],
    "n_jobs": [None, Integral],
    "progress": ["boolean", callable],
}
OF_CLASSIFIER = OF_BOTH | {"class_weight": [dict, list, StrOptions({"balanced"}), None]}
OF_REGRESSOR = OF_BOTH | {"loss": [StrOptions({"squared_error", "poisson", *LOSSES}), KernelLoss]}

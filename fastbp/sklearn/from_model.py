"""From a trained network to a fitted estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import LabelBinarizer

from fastbp import nn
from fastbp.nn.module import Module
from fastbp.sklearn.classifier import MLPClassifier
from fastbp.sklearn.network import Network, activation_name
from fastbp.sklearn.regressor import MLPRegressor


def from_model(model: nn.Sequential, classes: npt.ArrayLike | None = None) -> MLPClassifier | MLPRegressor:
    """Return an estimator that predicts by ``model``, and shares its parameters.

    Parameters
    ----------
    model : nn.Sequential
        Begins and ends with a ``Linear``. With ``classes`` its outputs are logits: one for each class, or for two
        classes one, that of the second.
    classes : array-like of shape (n_classes,), or None
        In the order of the outputs, sorted as scikit-learn sorts them; None for a regressor.

    Returns
    -------
    MLPClassifier or MLPRegressor
        Fitted; ``partial_fit`` trains on where its parameters can tell the network, with one activation throughout.

    Raises
    ------
    TypeError, ValueError
        For models and classes that do not fit each other.
    """
    linears = _linears_of(model)
    units = [linears[0].in_features, *(linear.out_features for linear in linears)]
    kinds = {name for module in model.modules() if (name := activation_name(module)) is not None}
    hidden, activation = tuple(units[1:-1]), kinds.pop() if len(kinds) == 1 else "identity" if not kinds else "relu"
    estimator: MLPClassifier | MLPRegressor
    if classes is None:
        estimator = MLPRegressor(hidden_layer_sizes=hidden, activation=activation)
    else:
        names = _require_classes(classes, units[-1])
        estimator = MLPClassifier(hidden_layer_sizes=hidden, activation=activation)
        estimator._learn_classes(names)
    estimator.n_outputs_, estimator.n_layers_, estimator.n_features_in_ = units[-1], len(units), units[0]
    estimator.out_activation_ = estimator._out_activation()
    estimator._publish(Network(model, estimator._settings, is_given=True))
    estimator._begin_training()
    return estimator


def _linears_of(model: Any) -> list[nn.Linear]:
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"from_model takes an nn.Sequential, got {type(model).__name__}")
    modules: list[Module] = list(model)
    if not modules or not isinstance(modules[0], nn.Linear) or not isinstance(modules[-1], nn.Linear):
        raise ValueError(
            f"from_model takes a Sequential that begins and ends with a Linear, got {model!r}; leave out what makes "
            "probabilities of the outputs"
        )
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


def _require_classes(classes: npt.ArrayLike, outputs: int) -> npt.NDArray[Any]:
    names = np.asarray(classes)
    if names.ndim != 1 or not np.array_equal(LabelBinarizer().fit(names).classes_, names):
        raise ValueError(f"from_model takes classes as sorted labels, each once, got {classes!r}")
    needed = 1 if len(names) == 2 else len(names)
    if outputs != needed:
        raise ValueError(
            f"from_model takes a model with {needed} outputs for {len(names)} classes, got {outputs}: logits, and for "
            "two classes that of the second"
        )
    return names

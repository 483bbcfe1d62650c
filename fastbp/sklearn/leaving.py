"""A fitted estimator as other programs take it: its network with what follows it, and what there is to know beside."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp import nn
from fastbp.interop.exponential import Exponential
from fastbp.nn.module import Module
from fastbp.sklearn.network import Network

_ENDS: dict[str, Callable[[], Module]] = {
    "identity": nn.Identity, "softmax": lambda: nn.Softmax(-1), "logistic": nn.Sigmoid, "exp": Exponential,
    "tanh": nn.Tanh, "relu": nn.ReLU,
}  # fmt: skip
"""By scikit-learn's ``out_activation_``."""


def leave(estimator: Any, network: Network) -> tuple[nn.Sequential, dict[str, Any]]:
    """Return a copy of the network of a fitted estimator with the activation of its outputs, and the facts.

    The facts are "estimator", "output", "features", where they are known "feature_names", and of a classifier
    "classes", in the order of the outputs.
    """
    model = copy.deepcopy(network.model)
    end = _ENDS[estimator.out_activation_]()
    facts: dict[str, Any] = {"estimator": type(estimator).__name__, "output": "predictions"}
    facts["features"] = int(estimator.n_features_in_)
    if hasattr(estimator, "feature_names_in_"):
        facts["feature_names"] = estimator.feature_names_in_.tolist()
    if hasattr(estimator, "classes_"):
        facts["classes"] = np.asarray(estimator.classes_).tolist()
        of_second = estimator.n_outputs_ == 1 and len(facts["classes"]) == 2
        facts["output"] = "the probability of the second class" if of_second else "the probability of each class"
    return nn.Sequential({**dict(model.named_children()), "output": end}), facts

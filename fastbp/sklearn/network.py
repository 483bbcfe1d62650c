"""The network of an estimator: an ``nn.Sequential`` whose parameters are ``coefs_`` and ``intercepts_``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from operator import is_
from typing import Any

import numpy as np

from fastbp import nn
from fastbp.nn.activations import activation_classes
from fastbp.nn.module import Module
from fastbp.validation.arrays import Array

_OF_SKLEARN = {"logistic": "Sigmoid", "tanh": "Tanh", "relu": "ReLU"}


def _lower(name: str) -> str:
    """Return a class's name as a setting: "leaky_relu" for LeakyReLU."""
    words = {"LeakyReLU": "leaky_relu", "LogSigmoid": "log_sigmoid"}
    return words.get(name, name.lower())


_WITHOUT_ARGUMENTS = [kind for kind in activation_classes() if not kind.example]
_ACTIVATIONS: dict[str, type[Module]] = {_lower(kind.__name__): kind for kind in _WITHOUT_ARGUMENTS}
_ACTIVATIONS |= {name: _ACTIVATIONS[kind.lower()] for name, kind in _OF_SKLEARN.items()}
ACTIVATIONS = frozenset(("identity", *_ACTIVATIONS))
"""The names of activations of hidden layers."""


def activation_name(module: Module) -> str | None:
    """Return the name of a module's activation, None if it is none that has a name."""
    return next((name for name, kind in _ACTIVATIONS.items() if type(module) is kind), None)


class Network:
    """A ``Sequential`` with its parameters as scikit-learn has them.

    Parameters
    ----------
    model : nn.Sequential

    Attributes
    ----------
    linears : list of nn.Linear
    coefs, intercepts : tuple of ndarray
        Views of the parameters: a weight, turned, is of shape (in, out).
    dtype : numpy.dtype
    """

    def __init__(self, model: nn.Sequential) -> None:
        self.model = model
        self._view()

    def _view(self) -> None:
        self.linears = [module for module in self.model.modules() if isinstance(module, nn.Linear)]
        self.coefs = tuple(linear.weight.data.T for linear in self.linears)
        self.intercepts = tuple(np.zeros(0) if each.bias is None else each.bias.data for each in self.linears)
        self.dtype: np.dtype[Any] = self.linears[0].dtype

    def holds(self, coefs: Sequence[Array], intercepts: Sequence[Array]) -> bool:
        """Whether these lists still have this network's parameters, and nothing was put in their place."""
        if len(coefs) != len(self.coefs) or len(intercepts) != len(self.intercepts):
            return False
        return all(map(is_, self.coefs, coefs)) and all(map(is_, self.intercepts, intercepts))

    def put(self, coefs: Sequence[Any], intercepts: Sequence[Any]) -> None:
        """Write parameters of scikit-learn's shapes."""
        for mine, values in zip((*self.coefs, *self.intercepts), (*coefs, *intercepts), strict=True):
            mine[...] = values

    def packed(self) -> Array:
        """Return all parameters in one vector of float64, in the order in which scikit-learn packs them."""
        return np.concatenate([array.ravel() for array in (*self.coefs, *self.intercepts)]).astype(np.float64)

    def packed_gradient(self) -> Array:
        """Return the gradients likewise."""
        weights = [linear.weight.kernel_grad.T.ravel() for linear in self.linears]
        biases = [linear.bias.kernel_grad for linear in self.linears if linear.bias is not None]
        return np.concatenate([*weights, *biases]).astype(np.float64, copy=False)

    def put_packed(self, values: Array) -> None:
        """Write what ``packed`` returned."""
        start = 0
        for array in (*self.coefs, *self.intercepts):
            array[...] = values[start : start + array.size].reshape(array.shape)
            start += array.size

    def __getstate__(self) -> nn.Sequential:
        return self.model

    def __setstate__(self, model: nn.Sequential) -> None:
        self.model = model
        self._view()


def build_network(
    layer_units: Sequence[int], activation: str, dtype: np.dtype[Any], *, dropout: float = 0.0,
    layer_norm: bool = False, seed: int | None = None,
) -> Network:  # fmt: skip
    """Return a network of zeros.

    Parameters
    ----------
    layer_units : sequence of int
        Features of the inputs, of each hidden layer, and of the outputs.
    activation : str
        One of ``ACTIVATIONS``, of the hidden layers.
    dtype : numpy.dtype
    dropout : float
        Of each hidden layer's outputs.
    layer_norm : bool
        Whether each hidden layer is normalised before its activation.
    seed : int or None
        Of dropout.
    """
    modules: list[Module] = []
    generator = np.random.default_rng(seed) if dropout else None
    for number, (i, o) in enumerate(pairwise(layer_units)):
        modules.append(nn.Linear(i, o, init="zeros", dtype=dtype))
        if number == len(layer_units) - 2:
            break
        if layer_norm:
            modules.append(nn.LayerNorm(o, dtype=dtype))
        if activation != "identity":
            modules.append(_ACTIVATIONS[activation]())
        if generator is not None:
            modules.append(nn.Dropout(dropout, rng=generator))
    return Network(nn.Sequential(*modules))


def draw_parameters(network: Network, activation: str, random_state: np.random.RandomState) -> None:
    """Write scikit-learn's initial values: uniform as Glorot and Bengio (2010) have it, biases by the same bound."""
    for coef, intercept in zip(network.coefs, network.intercepts, strict=True):
        fan_in, fan_out = coef.shape
        bound = sqrt((2.0 if activation == "logistic" else 6.0) / (fan_in + fan_out))
        coef[...] = random_state.uniform(-bound, bound, (fan_in, fan_out))
        intercept[...] = random_state.uniform(-bound, bound, fan_out)

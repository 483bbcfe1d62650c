"""The network of an estimator: an ``nn.Sequential`` whose parameters are ``coefs_`` and ``intercepts_``."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from fastbp import nn
from fastbp.nn.activations import activation_classes
from fastbp.nn.module import Module
from fastbp.runtime.model_lock import writing
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


class Settings(NamedTuple):
    """What an estimator's parameters say about its network beside the sizes.

    Attributes
    ----------
    activation : str
        One of ``ACTIVATIONS``, of the hidden layers.
    dropout : float
        Of each hidden layer's outputs.
    layer_norm : bool
        Whether each hidden layer is normalised before its activation.
    """

    activation: str = "relu"
    dropout: float = 0.0
    layer_norm: bool = False


class Network:
    """A ``Sequential`` with its parameters as scikit-learn has them.

    Parameters
    ----------
    model : nn.Sequential
    settings : Settings or None
        Of the estimator when the network was made; None where that is not known.
    is_given : bool
        Whether the model was not built from the settings.

    Attributes
    ----------
    linears : list of nn.Linear
    coefs, intercepts : tuple of ndarray
        Views of the parameters: a weight, turned, is of shape (in, out).
    units : list of int
        Features of the inputs, of each hidden layer, and of the outputs.
    dtype : numpy.dtype
    parameters : list of Parameter
        All of the model's, those of other layers included.
    is_public : bool
        Whether the views are an estimator's attributes: nothing but a training may write into them then.
    """

    def __init__(self, model: nn.Sequential, settings: Settings | None, *, is_given: bool = False) -> None:
        self.model, self.settings, self.is_given = model, settings, is_given
        self.is_public = False
        self._view()

    def _view(self) -> None:
        self.linears = [module for module in self.model.modules() if isinstance(module, nn.Linear)]
        self.coefs = tuple(linear.weight.data.T for linear in self.linears)
        self.intercepts = tuple(np.zeros(0) if each.bias is None else each.bias.data for each in self.linears)
        self.units = [self.linears[0].in_features, *(linear.out_features for linear in self.linears)]
        self.dtype: np.dtype[Any] = self.linears[0].dtype
        self.parameters = list(dict.fromkeys(self.model.parameters()))
        self._storage = self.linears[0].weight.storage

    def holds(self, coefs: Sequence[Array], intercepts: Sequence[Array]) -> bool:
        """Whether these lists have this network's parameters themselves, which are still where they were."""
        if len(coefs) != len(self.coefs) or len(intercepts) != len(self.intercepts):
            return False
        is_here = self.linears[0].weight.storage is self._storage
        return is_here and all(map(is_, self.coefs, coefs)) and all(map(is_, self.intercepts, intercepts))

    def copy(self, dtype: np.dtype[Any]) -> Network:
        """Return a network of the same numbers in ``dtype``, with memory of its own."""
        return Network(copy.deepcopy(self.model).to(dtype=dtype), self.settings, is_given=self.is_given)

    def put(self, coefs: Sequence[Any], intercepts: Sequence[Any]) -> None:
        """Write parameters of scikit-learn's shapes."""
        for mine, values in zip((*self.coefs, *self.intercepts), (*coefs, *intercepts), strict=True):
            mine[...] = values

    def take(self, other: Network) -> None:
        """Write all parameters and buffers of a network that this one is a copy of."""
        for mine, theirs in zip(self.parameters, other.parameters, strict=True):
            mine.data[...] = theirs.data
        for (_, buffer), (_, values) in zip(self.model.named_buffers(), other.model.named_buffers(), strict=True):
            buffer[...] = values

    def snapshot(self) -> list[Array]:
        """Return copies of all parameters."""
        return [parameter.data.copy() for parameter in self.parameters]

    def put_back(self, snapshot: Sequence[Array]) -> None:
        """Write what ``snapshot`` returned; who predicts meanwhile notices."""
        with writing(self.linears[0].weight.storage.lock):
            for parameter, values in zip(self.parameters, snapshot, strict=True):
                parameter.data[...] = values

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

    def __getstate__(self) -> tuple[nn.Sequential, Settings | None, bool]:
        return self.model, self.settings, self.is_given

    def __setstate__(self, state: nn.Sequential | tuple[nn.Sequential, Settings | None, bool]) -> None:
        # A file of an earlier version has the model alone.
        self.model, self.settings, self.is_given = state if isinstance(state, tuple) else (state, None, True)
        self.is_public = True
        self._view()


def layers_of(coefs: Sequence[Array], intercepts: Sequence[Array]) -> tuple[list[int], np.dtype[Any]]:
    """Return the sizes and the dtype of a network that has these parameters.

    Raises
    ------
    ValueError
        If they are not those of layers one behind the other.
    """
    units: list[int] = []
    for number, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        if coef.ndim != 2 or (units and coef.shape[0] != units[-1]):
            wanted = f"({units[-1]}, n)" if units else "(i, n)"
            raise ValueError(f"coefs_[{number}] takes an array of shape {wanted}, got {coef.shape}")
        if intercept.size not in (0, 1, coef.shape[1]):
            raise ValueError(
                f"intercepts_[{number}] takes an array of shape ({coef.shape[1]},) for coefs_[{number}] of shape "
                f"{coef.shape}, got {intercept.shape}"
            )
        units += coef.shape if not units else coef.shape[1:]
    are_float32 = all(array.dtype == np.float32 for array in (*coefs, *intercepts))
    return units, np.dtype(np.float32 if are_float32 else np.float64)


def build_network(
    layer_units: Sequence[int], settings: Settings, dtype: np.dtype[Any], random_state: np.random.RandomState
) -> Network:
    """Return a network of zeros.

    Parameters
    ----------
    layer_units : sequence of int
        Features of the inputs, of each hidden layer, and of the outputs.
    settings : Settings
    dtype : numpy.dtype
    random_state : numpy.random.RandomState
        From which the seed of dropout is drawn, where there is dropout.
    """
    modules: list[Module] = []
    activation, dropout, layer_norm = settings
    generator = np.random.default_rng(int(random_state.randint(1 << 31))) if dropout else None
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
    return Network(nn.Sequential(*modules), settings)


def rebuilt(
    network: Network | None, layer_units: Sequence[int], settings: Settings, dtype: np.dtype[Any],
    random_state: np.random.RandomState,
) -> Network:  # fmt: skip
    """Return a network with memory of its own for an estimator that had ``network`` and has changed since.

    What is no weight or bias of a ``Linear`` is kept where the sizes are the same.

    Raises
    ------
    ValueError
        If the network was given as a model, and cannot be built from the settings.
    """
    if network is None:
        return build_network(layer_units, settings, dtype, random_state)
    is_alike = network.units == list(layer_units)
    if is_alike and network.settings == settings:
        return network.copy(dtype)
    if network.is_given:
        changed = "coefs_ of other shapes" if network.settings == settings else f"other parameters: {settings}"
        raise ValueError(
            f"an estimator made of a model keeps its layers, of {network.units} features and {network.settings}, got "
            f"{changed}; call fit for a new network"
        )
    built = build_network(layer_units, settings, dtype, random_state)
    if is_alike:
        norms = [[m for m in each.model.modules() if isinstance(m, nn.LayerNorm)] for each in (built, network)]
        for mine, theirs in zip(*norms):
            mine.load_state_dict(theirs.state_dict())
    return built


def draw_parameters(network: Network, activation: str, random_state: np.random.RandomState) -> None:
    """Write scikit-learn's initial values: uniform as Glorot and Bengio (2010) have it, biases by the same bound."""
    for coef, intercept in zip(network.coefs, network.intercepts, strict=True):
        fan_in, fan_out = coef.shape
        bound = sqrt((2.0 if activation == "logistic" else 6.0) / (fan_in + fan_out))
        coef[...] = random_state.uniform(-bound, bound, (fan_in, fan_out))
        intercept[...] = random_state.uniform(-bound, bound, fan_out)

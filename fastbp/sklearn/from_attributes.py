"""The network of an estimator, derived from its public attributes and parameters."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastbp.sklearn.network import ACTIVATIONS, Network, Settings, layers_of, rebuilt
from fastbp.sklearn.sparse_rows import predict
from fastbp.sklearn.turns import Turns
from fastbp.validation.arrays import Array

M = TypeVar("M", bound="FromAttributes")
_WRITTEN = (
    "_network", "_optimizer", "_random_state", "_best_coefs", "_best_intercepts", "coefs_", "intercepts_",
    "loss_curve_", "validation_scores_",
)  # fmt: skip


class FromAttributes:
    """What predicts and trains by ``coefs_``, ``intercepts_``, ``activation``, ``dropout`` and ``layer_norm``.

    After a fit the items of ``coefs_`` and ``intercepts_`` are views of a network's parameters, and nothing is copied.
    Arrays that were put in their place are copied into a network of its own memory by each call, and a training writes
    its results into them, as scikit-learn trains them in place. The views are never written into on behalf of others:
    who puts them back finds their numbers.
    """

    activation: str
    dropout: float
    layer_norm: bool
    dtype: Any
    random_state: Any
    coefs_: list[Array]
    intercepts_: list[Array]
    n_layers_: int
    _best_coefs: list[Array]
    _best_intercepts: list[Array]
    _network: Network | None = None
    _wide: tuple[Network, Network] | None = None  # a network, and the same in float64

    @property
    def model_(self) -> Any:
        """The network, an ``nn.Sequential`` whose outputs are logits where there are classes.

        Its parameters are the estimator's, and ``coefs_`` and ``intercepts_`` views of them from now on: training it
        changes the estimator.
        """
        check_is_fitted(self)
        with self._turns.reading():
            network = self._current_network()
            if not network.is_public:
                self._publish(network)
            return network.model

    def __sklearn_is_fitted__(self) -> bool:
        return "coefs_" in vars(self)

    @property
    def _turns(self) -> Turns:
        turns: Turns | None = vars(self).get("_turns_of_threads")
        return vars(self).setdefault("_turns_of_threads", Turns()) if turns is None else turns

    @property
    def _settings(self) -> Settings:
        if not isinstance(self.activation, str) or self.activation not in ACTIVATIONS:
            names = ", ".join(sorted(ACTIVATIONS))
            raise ValueError(f"{type(self).__name__} takes activation as one of {names}, got {self.activation!r}")
        return Settings(self.activation, self.dropout, self.layer_norm)

    def _publish(self, network: Network) -> None:
        """Let the attributes be views of this network's parameters."""
        network.is_public = True
        self._network = network
        self.coefs_, self.intercepts_ = list(network.coefs), list(network.intercepts)

    def _replace_items(self, network: Network) -> None:
        """Put the network's parameters in the place of the items of the lists, as scikit-learn's "lbfgs" does."""
        network.is_public = True
        self._network = network
        self.coefs_[: len(network.coefs)] = network.coefs
        self.intercepts_[: len(network.intercepts)] = network.intercepts

    def _held(self) -> Network | None:
        """Return the network whose parameters the attributes still are; None if something was put in their place."""
        own = vars(self)
        network: Network | None = own.get("_network")
        if network is None or network.settings != (self.activation, self.dropout, self.layer_norm):
            return None
        if own.get("n_layers_") != len(network.units):
            return None
        return network if network.holds(own.get("coefs_", ()), own.get("intercepts_", ())) else None

    def _current_network(self) -> Network:
        """Return a network with the numbers of the attributes; called by one thread at a time.

        Raises
        ------
        ValueError
            If they are not those of layers one behind the other.
        """
        network = self._held()
        if network is not None:
            return network
        numbers = range(self.n_layers_ - 1)
        coefs = [np.asarray(self.coefs_[number]) for number in numbers]
        intercepts = [np.asarray(self.intercepts_[number]) for number in numbers]
        units, dtype = layers_of(coefs, intercepts)
        network, settings = self._network, self._settings
        is_like = network is not None and (network.units, network.dtype, network.settings) == (units, dtype, settings)
        if network is None or network.is_public or not is_like:
            network = rebuilt(network, units, settings, dtype, check_random_state(self.random_state))
        network.put(coefs, intercepts)
        self._network = network
        return network

    def _computes_in(self, samples: np.dtype[Any], network: Network) -> np.dtype[Any]:
        """Return the dtype in which samples of a dtype are predicted: as in scikit-learn that of their products."""
        if self.dtype is not None or np.result_type(samples, network.dtype) == network.dtype:
            return network.dtype
        return np.dtype(np.float64)

    def _predicting(self, samples: np.dtype[Any]) -> Network:
        """Return a network that predicts samples of a dtype; called by one thread at a time."""
        network = self._current_network()
        if self._computes_in(samples, network) == network.dtype:
            return network
        if self._wide is None or self._wide[0] is not network:
            self._wide = network, network.copy(np.dtype(np.float64))
        wide = self._wide[1]
        wide.take(network)
        return wide

    def _require_layers(self, units: list[int], *, exactly: bool) -> None:
        """Raise ValueError unless a training of samples and targets of these sizes can go on with the attributes.

        Other hidden layers of the same number are passed by unless ``exactly``, as in scikit-learn.
        """
        found = self._current_network().units
        asked_for = units if exactly or len(found) != len(units) else [units[0], *found[1:-1], units[-1]]
        if found != asked_for:
            raise ValueError(
                f"{type(self).__name__} goes on with coefs_ of layers of {found} features, got hidden_layer_sizes, "
                f"samples and targets for {units}; fit with warm_start=False for a new network"
            )

    @contextmanager
    def _trained_network(self) -> Iterator[Network]:
        """Yield the network for a training, whose parameters are the attributes meanwhile.

        Arrays that stood in their place are written into at the end, whatever ends it, and put back.

        Raises
        ------
        TypeError, ValueError
            If they are no floats, or cannot be written into.
        """
        network = self._current_network()
        coefs, intercepts = self.coefs_, self.intercepts_
        _require_trainable("coefs_", coefs)
        _require_trainable("intercepts_", intercepts)
        if network.is_public:
            yield network
            return
        self._publish(network)
        try:
            yield network
        finally:
            for array, values in zip((*coefs, *intercepts), (*network.coefs, *network.intercepts)):
                array[...] = values
            self.coefs_, self.intercepts_ = coefs, intercepts
            network.is_public = False

    def _keep_best(self, best: list[Array] | None) -> None:
        """Let the attributes have the best parameters of a training, or of those before where ``best`` is None."""
        if best is not None:
            network = self._current_network()
            network.put_back(best)
            self._publish(network)
            self._best_coefs, self._best_intercepts = self.coefs_, self.intercepts_
        self.coefs_, self.intercepts_ = self._best_coefs, self._best_intercepts

    def __getstate__(self) -> dict[str, Any]:
        with self._turns.reading():
            state: dict[str, Any] = dict(super().__getstate__())  # type: ignore[call-overload]
            state = {name: value for name, value in state.items() if name not in ("_turns_of_threads", "_wide")}
            if self._held() is not None:  # the lists are views of the network
                if state.get("_best_coefs") is self.coefs_:
                    state["_best_coefs"] = state["_best_intercepts"] = None
                del state["coefs_"], state["intercepts_"]
            # A training in another thread may go on before the state is copied or written.
            state |= copy.deepcopy({name: state[name] for name in _WRITTEN if name in state})
            return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        network = self._network
        if network is None:
            return
        if network.settings is None:
            network.settings = self._settings
        if "coefs_" in state:
            network.is_public = False
        else:
            self._publish(network)
        if state.get("_best_coefs", ()) is None:
            self._best_coefs, self._best_intercepts = self.coefs_, self.intercepts_

    def __copy__(self: M) -> M:
        copied = type(self).__new__(type(self))
        vars(copied).update(vars(self))
        return copied


def predictions(network: Network, samples: Any) -> Array:
    """Return the network's outputs for dense or sparse samples in a new array."""
    if issparse(samples):
        return predict(network.model, samples, network.dtype)
    outputs: Array = network.model.predict(np.asarray(samples).astype(network.dtype, copy=False))
    return outputs


def _require_trainable(name: str, arrays: list[Any]) -> None:
    """Raise unless a training can write into the arrays of the attribute ``name``."""
    for number, array in enumerate(arrays):
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"a training writes into {name}[{number}], which takes an array of floats, got {kind}")
        if not array.flags.writeable:
            raise ValueError(f"a training writes into {name}[{number}], got an array that is read-only; take a copy")

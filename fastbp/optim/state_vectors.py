"""What an optimiser remembers of each parameter, as vectors beside the flat parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fastbp.nn.parameter import FlatView, Parameter
from fastbp.validation.arrays import Array, aligned_zeros


class StateVectors:
    """For each run of flat parameters an array (vectors, parameters), zeros at first.

    Where a model lays its parameters out anew, in another order or dtype, the numbers follow them.

    Parameters
    ----------
    names : tuple of str
        Of the vectors.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._flat: FlatView | None = None  # for which the arrays are laid out
        self._runs: list[tuple[Array, Array, Array]] = []  # data, grad, state
        self._views: dict[Parameter, Array] = {}  # (vectors, size), by the parameter

    def beside(self, flat: FlatView, parameters: Sequence[Parameter]) -> list[tuple[Array, Array, Array]]:
        """Return the runs of ``flat``, of ``parameters`` in its order: each with the array beside it."""
        if flat is not self._flat:
            before = self._views
            self._lay_out(flat, parameters)
            self._fill(before)
        return self._runs

    def rename(self, names: tuple[str, ...]) -> None:
        """Keep vectors of other ``names`` from now on; those that were there stay, and new ones are zeros."""
        if names == self.names:
            return
        views: dict[Parameter, Array] = {}
        for parameter, view in self._views.items():
            views[parameter] = np.zeros((len(names), view.shape[1]), view.dtype)
            for place, name in enumerate(names):
                if name in self.names:
                    views[parameter][place] = view[self.names.index(name)]
        self.names, self._views, self._flat, self._runs = names, views, None, []

    def _lay_out(self, flat: FlatView, parameters: Sequence[Parameter]) -> None:
        count = len(self.names)
        arrays = [aligned_zeros(count * data.size, data.dtype).reshape(count, data.size) for data, _ in flat.runs]
        views: dict[Parameter, Array] = {}
        remaining, start = iter(arrays), 0
        run = next(remaining)
        for parameter in parameters:
            if start == run.shape[1]:
                run, start = next(remaining), 0
            views[parameter] = run[:, start : start + parameter.size]
            start += parameter.size
        self._flat, self._views = flat, views
        self._runs = [(*run, array) for run, array in zip(flat.runs, arrays, strict=True)]

    def _fill(self, values: Mapping[Parameter, Array]) -> None:
        with np.errstate(over="ignore"):  # beyond float32 is infinity, as in PyTorch
            for parameter, view in self._views.items():
                if parameter in values:
                    view[...] = values[parameter]

    def of(self, parameter: Parameter) -> dict[str, Array]:
        """Return copies of one parameter's, in its shape; zeros before the first step."""
        view = self._views.get(parameter)
        if view is None:
            view = np.zeros((len(self.names), parameter.size), parameter.dtype)
        return {name: row.reshape(parameter.shape).copy() for name, row in zip(self.names, view, strict=True)}

    def take(self, values: Mapping[Parameter, Mapping[str, Array]]) -> None:
        """Take the numbers of each parameter, by the vectors' names, for the next ``beside``; else there are zeros."""
        names = tuple(dict.fromkeys(name for vectors in values.values() for name in vectors))
        zeros = {parameter: np.zeros(parameter.size) for parameter in values}
        self._views = {
            parameter: np.stack([np.ravel(vectors.get(name, zeros[parameter])) for name in names])
            for parameter, vectors in values.items()
            if names
        }
        self.names, self._flat, self._runs = names, None, []

    def __getstate__(self) -> dict[str, object]:
        views = {parameter: view.copy() for parameter, view in self._views.items()}
        return {**vars(self), "_flat": None, "_runs": [], "_views": views}

"""What an optimiser remembers of each parameter, as vectors that hold all parameters' one behind the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastbp.nn.parameter import Parameter
from fastbp.validation.arrays import Array, aligned_zeros


class StateVectors:
    """For all parameters of one dtype an array (vectors, numbers), zeros at first.

    Where a model lays its parameters out anew, in another order or dtype, the numbers follow them.

    Attributes
    ----------
    names : tuple of str
        Of the vectors.
    arrays : dict of dtype to ndarray
    places : dict of Parameter to int
        Where the part of each parameter begins in a vector of its dtype.
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.arrays: dict[np.dtype[Any], Array] = {}
        self.places: dict[Parameter, int] = {}
        self._parts: dict[Parameter, tuple[Array, int, int]] = {}  # array, place and size

    def lay_out(self, names: tuple[str, ...], parameters: Iterable[Parameter]) -> None:
        """Keep vectors of these names for ``parameters``, one behind the other; those that are new are zeros."""
        places: dict[Parameter, int] = {}
        sizes: dict[np.dtype[Any], int] = {}
        found = []
        for parameter in parameters:
            data = parameter.kernel_data
            dtype, size = data.dtype, data.size
            places[parameter] = place = sizes.get(dtype, 0)
            sizes[dtype] = place + size
            found.append((parameter, dtype, place, size))
        count = len(names)
        arrays = {dtype: aligned_zeros(count * size, dtype).reshape(count, size) for dtype, size in sizes.items()}
        parts = {parameter: (arrays[dtype], place, size) for parameter, dtype, place, size in found if names}
        if self._parts:
            with np.errstate(over="ignore"):  # beyond float32 is infinity, as in PyTorch
                for parameter in parts.keys() & self._parts.keys():
                    before = _view(self._parts[parameter])
                    for name, vector in zip(names, _view(parts[parameter]), strict=True):
                        if name in self.names:
                            vector[...] = before[self.names.index(name)]
        self.names, self.arrays, self.places, self._parts = names, arrays, places, parts

    def of(self, parameter: Parameter) -> dict[str, Array]:
        """Return copies of one parameter's, in its shape; zeros before the first step."""
        part = self._parts.get(parameter)
        view = np.zeros((len(self.names), parameter.size), parameter.dtype) if part is None else _view(part)
        return {name: row.reshape(parameter.shape).copy() for name, row in zip(self.names, view, strict=True)}

    def take(self, values: Mapping[Parameter, Mapping[str, Array]]) -> None:
        """Take the numbers of each parameter, by the vectors' names, for the next ``lay_out``; else there are zeros."""
        names = tuple(dict.fromkeys(name for vectors in values.values() for name in vectors))
        zeros = {parameter: np.zeros(parameter.size) for parameter in values}
        views = {
            parameter: np.stack([np.ravel(vectors.get(name, zeros[parameter])) for name in names])
            for parameter, vectors in values.items()
            if names
        }
        self.names, self._parts = names, {parameter: (view, 0, parameter.size) for parameter, view in views.items()}

    def __getstate__(self) -> dict[str, object]:
        views = {parameter: _view(part).copy() for parameter, part in self._parts.items()}
        return {"names": self.names, "arrays": {}, "places": {}, "_views": views}

    def __setstate__(self, state: dict[str, Any]) -> None:
        views = state.pop("_views")
        vars(self).update(state, _parts={parameter: (view, 0, view.shape[1]) for parameter, view in views.items()})


def _view(part: tuple[Array, int, int]) -> Array:
    """Return a parameter's part of the vectors, (vectors, size)."""
    array, place, size = part
    return array[:, place : place + size]

"""What a forward in training changes in modules: running statistics, and counts that dropout draws from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fastbp.nn.dropout import Dropout
from fastbp.nn.module import Module
from fastbp.validation.arrays import Array


class ForwardState:
    """Keeps that state before a forward, and puts it back where one was stopped, or was for nothing."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self._changing = [module for module in modules if module._buffer_names or isinstance(module, Dropout)]
        self._arrays: Sequence[tuple[Array, Array]] = ()
        self._forwards: Sequence[tuple[Dropout, int]] = ()

    def keep(self) -> None:
        """Note the state as it is."""
        if not self._changing:
            return
        training = [module for module in self._changing if module.training]
        arrays = [getattr(module, name) for module in training for name in module._buffer_names]
        self._arrays = [(array, np.copy(array)) for array in arrays if array is not None]
        self._forwards = [(module, module.forwards) for module in training if isinstance(module, Dropout)]

    def put_back(self) -> None:
        """Return to what was noted."""
        for array, kept in self._arrays:
            array[...] = kept
        for module, forwards in self._forwards:
            module.forwards = forwards

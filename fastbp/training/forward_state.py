"""What a forward in training changes in a model: running statistics, and counts that dropout draws from."""

from __future__ import annotations

from fastbp.nn.dropout import Dropout
from fastbp.nn.module import Module


class ForwardState:
    """Keeps that state before a mini-batch, and puts it back where one was stopped before its step."""

    def __init__(self, model: Module) -> None:
        self._arrays = [(array, array.copy()) for _, array in model.named_buffers()]
        self._dropouts = {module: module.forwards for module in model.modules() if isinstance(module, Dropout)}

    def keep(self) -> None:
        """Note the state as it is."""
        for array, kept in self._arrays:
            kept[...] = array
        for module in self._dropouts:
            self._dropouts[module] = module.forwards

    def put_back(self) -> None:
        """Return to what was noted."""
        for array, kept in self._arrays:
            array[...] = kept
        for module, forwards in self._dropouts.items():
            module.forwards = forwards

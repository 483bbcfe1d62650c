"""What a training leaves behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fastbp.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastbp.trainers import Epoch


class History(Mapping[str, list[float]]):
    """The course of a training, a mapping of names to one number an epoch.

    Keys
    ----
    "train_loss"
        The sum of the losses of the epoch's mini-batches, each taken before its update.
    "val_loss"
        The loss of the validation data after the epoch; empty without validation data.
    "val_accuracy"
        The accuracy on the validation data after the epoch; empty unless its targets are one-hot.

    Attributes
    ----------
    seconds : float
        Wall time of the training, validation included.
    way : str
        "engine", or "module by module: " and the reason why the engine could not train this.
    """

    def __init__(self, way: str = "") -> None:
        self.way = way
        self._values: dict[str, list[float]] = {"train_loss": [], "val_loss": [], "val_accuracy": []}
        self.seconds = 0.0

    def __getitem__(self, name: str) -> list[float]:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def append(self, epoch: Epoch) -> None:
        """Add what a finished epoch left."""
        for values, value in zip(self._values.values(), epoch, strict=True):
            if value is not None:
                values.append(value)

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return len(self._values["train_loss"])

    def as_arrays(self) -> dict[str, Array]:
        """Return every series as a float64 array of shape (epochs,), or (0,) where nothing was recorded."""
        return {name: np.array(values, dtype=np.float64) for name, values in self._values.items()}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the losses against the epoch, and the accuracy on an axis of its own. Needs matplotlib."""
        from fastbp.plots import plot_history

        return plot_history(self, ax)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.6g}" for name, values in self._values.items() if values)
        return f"History({self.epochs} epochs in {self.seconds:.3g} s{': ' if last else ''}{last})"

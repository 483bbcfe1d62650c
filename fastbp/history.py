"""What a training leaves behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastbp.course import Epochs


@dataclass(slots=True)
class Position:
    """Where a training stands within its unfinished epoch.

    Validation is not part of it: a training that stops there validates from the beginning when it goes on.
    """

    batches: int = 0  # finished mini-batches
    loss: float = 0.0  # their sum
    generator: Any = None  # the state of the rng before it drew this epoch's order; None without shuffling


@dataclass(frozen=True, slots=True)
class Setting:
    """What must stay the same for a training to go on."""

    training_rows: int
    mini_batch_size: int
    shuffle: bool
    recorded_series: int  # 1 for the training loss alone, 2 with validation loss, 3 with accuracy


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
        Wall time of the training, validation included; of all its parts if it was interrupted.
    way : str
        "engine", or "module by module: " and the reason why the engine could not train this.

    A training adds to a history that it is handed, ``train_model(..., history=history)``, and goes on where it stops.
    """

    def __init__(self, way: str = "") -> None:
        self.way = way
        self._values: dict[str, list[float]] = {"train_loss": [], "val_loss": [], "val_accuracy": []}
        self.seconds = 0.0
        self.position = Position()
        self.setting: Setting | None = None

    def __getitem__(self, name: str) -> list[float]:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def record(self, finished: Epochs, position: Position) -> None:
        """Add what finished epochs left, and where the training stands after them."""
        for values, new in zip(self._values.values(), finished, strict=True):
            values.extend(new)
        self.position = position

    @property
    def has_begun(self) -> bool:
        """Whether a mini-batch has been trained."""
        return self.epochs > 0 or self.position.batches > 0

    def check_going_on(self, setting: Setting, epochs: int) -> None:
        """Raise ValueError unless a training of ``setting`` up to ``epochs`` can go on from here."""
        if self.setting is None or not self.has_begun:
            return
        for name in Setting.__slots__:
            had, came = getattr(self.setting, name), getattr(setting, name)
            if had != came:
                raise ValueError(
                    f"this history is of a training with {name} {had}, got {came}; "
                    "give another training a new History()"
                )
        least = self.epochs + bool(self.position.batches)
        if epochs < least:
            raise ValueError(
                f"train_model takes epochs, the total, of {least} or more for this history, which has come so far, "
                f"got {epochs}"
            )

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

"""What a training tells when its loss is no longer finite."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from fastbp.nn.parameter import FlatView
from fastbp.training.history import History
from fastbp.validation.arrays import Array
from fastbp.validation.callers import warn

if TYPE_CHECKING:
    from fastbp_kernels.network.arguments import Rows

OnNonfinite: TypeAlias = Literal["raise", "warn", "ignore"]

_FEW = 1 << 10  # elements of a vector whose product with itself costs less than a mask
_PIECE = 1 << 20  # elements looked through at a time, so that large data need no large mask


class DivergenceWarning(RuntimeWarning):
    """The loss of a training became NaN or infinite."""


class DivergenceError(FloatingPointError):
    """The loss of a training became NaN or infinite, under ``on_nonfinite="raise"``.

    Attributes
    ----------
    epoch : int
        From 1.
    batch : int or None
        Mini-batch of the epoch, from 1; None if it was the loss of the validation data.
    history : History
        What was recorded so far.
    """

    def __init__(self, text: str, epoch: int, batch: int | None, history: History) -> None:
        super().__init__(text)
        self.epoch, self.batch, self.history = epoch, batch, history


class NonFiniteMonitor:
    """Tells once, by a warning or an error.

    Parameters
    ----------
    action : "raise", "warn" or "ignore"
    history : History
        Handed over with the error.
    train, validation : Rows, or None for no validation
        Looked through for what is not finite when there is something to tell.
    lr : float or None
        The optimiser's, if it has one.
    """

    def __init__(
        self, action: OnNonfinite, history: History, train: Rows, validation: Rows | None, lr: float | None
    ) -> None:
        if action not in ("raise", "warn", "ignore"):
            raise ValueError(f"train_model takes on_nonfinite 'raise', 'warn' or 'ignore', got {action!r}")
        self._action, self._history, self._lr = action, history, lr
        self._before = 0, 0  # epochs and mini-batches before those that it is told of
        self._train, self._validation = train, validation
        self.wanted = action != "ignore"

    def look_at(self, train: Rows, epochs: int, batches: int) -> None:
        """Take other training data, which come after so many epochs and mini-batches of an epoch."""
        self._train, self._before = train, (epochs, batches)

    def loss(self, epoch: int, batch: int | None) -> None:
        """Tell that the loss of a mini-batch, or of the validation data if ``batch`` is None, is not finite."""
        epoch, batch = epoch + self._before[0], None if batch is None else batch + self._before[1]
        place = f"in epoch {epoch}, " + ("validation" if batch is None else f"mini-batch {batch}")
        self._tell(f"the loss became NaN or infinite {place}", epoch, batch)

    def losses(self, epochs: int, of_batches: Array, of_validation: list[float]) -> None:
        """Tell of the first loss that is not finite after so many ``epochs``.

        ``of_batches`` are epoch and mini-batch of the first in training, from 1, or zeros; ``of_validation`` the losses
        of the validation after each epoch.
        """
        epoch, batch = of_batches.tolist()
        if not epoch and not of_validation:
            return
        before = next((n for n, loss in enumerate(of_validation, 1) if not isfinite(loss)), 0)
        if before and not 0 < epoch <= before:
            self.loss(epochs + before, None)
        elif epoch:
            self.loss(epochs + epoch, batch)

    def parameters(self, flat: FlatView, batch: int) -> None:
        """Tell if the parameters are not finite after the last update, ``batch``, whose loss nobody computes."""
        if self.wanted and not all(_is_finite(data) for data, _ in flat.runs):
            epoch = self._history.epochs
            self._tell(f"the parameters became NaN or infinite in epoch {epoch}, mini-batch {batch}", epoch, batch)

    def _tell(self, what: str, epoch: int, batch: int | None) -> None:
        if not self.wanted:
            return
        self.wanted = False
        text = f"{what}: {self._remedy(epoch, batch)}"
        if self._action == "raise":
            raise DivergenceError(text, epoch, batch, self._history)
        warn(text, DivergenceWarning)

    def _remedy(self, epoch: int, batch: int | None) -> str:
        data = {"train_input": self._train.input, "train_target": self._train.target}
        if self._validation is not None:
            data |= {"val_input": self._validation.input, "val_target": self._validation.target}
        spoilt = [name for name, array in data.items() if not _is_finite(array)]
        if spoilt:
            return f"{' and '.join(spoilt)} held NaN or infinity; remove such rows"
        if epoch == batch == 1:
            return "the data are finite and this was before the first update; check the model's parameters"
        return "the data are finite; try a smaller lr" + ("" if self._lr is None else f" than {self._lr:g}")


def _is_finite(array: Array) -> bool:
    if array.size <= _FEW and isfinite(np.vdot(array, array)):  # quicker, but huge numbers overflow
        return True
    if array.size <= _PIECE:
        return bool(np.isfinite(array).all())
    rows = max(1, _PIECE // max(1, array[:1].size))
    return all(np.isfinite(array[start : start + rows]).all() for start in range(0, len(array), rows))

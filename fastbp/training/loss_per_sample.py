"""Losses per sample, which put those of training and validation on one scale."""

from __future__ import annotations

from math import nan

from fastbp.training.training_run import Criterion
from fastbp_kernels.network.arguments import Rows


class LossPerSample:
    """Means per sample of losses that a criterion returns for whole batches.

    A criterion whose ``reduction`` is "sum" returns the sum over the samples of a batch; any other, also one of the
    user's own that has no ``reduction``, is taken to return their mean.

    Parameters
    ----------
    criterion : Criterion
    rows : int
        That are trained in an epoch.
    validation : Rows or None
    mini_batch_size : int
        The rows of a mini-batch that counts 1.

    Attributes
    ----------
    counted : float
        What the mini-batches of an epoch count together.
    """

    def __init__(self, criterion: Criterion, rows: int, validation: Rows | None, mini_batch_size: int) -> None:
        self._sums = getattr(criterion, "reduction", None) == "sum"
        self._size = 1 if self._sums else mini_batch_size
        self.counted = rows / self._size
        self._val_rows = 0 if validation is None else validation.n

    def weight(self, rows: int) -> float:
        """Return what the loss of a mini-batch of so many rows counts: less than 1 for a short one that is a mean."""
        return 1.0 if self._sums else rows / self._size

    def train(self, weighted_losses: list[float]) -> list[float]:
        """Return the mean per sample for each epoch's sum of the weighted losses of its mini-batches."""
        return [loss / self.counted for loss in weighted_losses]

    def val(self, losses: list[float]) -> list[float]:
        """Return the mean per sample for each loss of the validation data."""
        return [loss / (self._val_rows or nan) for loss in losses] if self._sums else losses

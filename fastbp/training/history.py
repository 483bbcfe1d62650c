"""The course of a training: its losses and metrics, a number an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from fastbp.training.early_stopping import BestEpoch
from fastbp.validation.arrays import Array
from fastbp.validation.callers import warn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastbp.training.training_run import Epochs


Backend: TypeAlias = Literal["engine", "modules"]
StoppedBy: TypeAlias = Literal["epochs", "early_stopping", "max_seconds", "progress"]

_SERIES = ("train_loss", "val_loss", "val_accuracy", "train_loss_mean", "val_loss_mean")


@dataclass(slots=True)
class Position:
    """Where a training stands within its unfinished epoch.

    Validation is not part of it: a training that stops there validates from the beginning when it goes on.
    """

    batches: int = 0  # finished mini-batches
    loss: float = 0.0  # their sum
    generator: Any = None  # the state of the rng before it drew this epoch's order; None without shuffling
    weighted_loss: float = 0.0  # their sum by the weights of LossPerSample
    # The model's ``state_dict()``, where it was given that of the best epoch instead.
    last_state: Mapping[str, Array] | None = None


class TrainingSetup(NamedTuple):
    """What must stay the same for a training to go on."""

    training_rows: int  # 0 where they come in blocks
    mini_batch_size: int
    shuffle: bool
    recorded_series: int  # 1 for the training loss alone, 2 with validation loss, 3 with accuracy
    parameters: str = ""  # of the model, see Plan.description; empty where nobody noted them
    metrics: tuple[str, ...] = ()  # names of those that train_model computes


class History(Mapping[str, list[float]]):
    """The course of a training, a mapping of names to one number an epoch.

    The names are:

    "train_loss"
        The sum of the losses of the epoch's mini-batches, each taken before its update.
    "val_loss"
        The loss of the validation data after the epoch; empty without validation data.
    "val_accuracy"
        The accuracy on the validation data after the epoch, see ``compute_accuracy``; empty unless its targets are
        one-hot, a single column of 0 and 1, or class indices.
    "train_loss_mean", "val_loss_mean"
        The same losses per sample, on one scale. With a criterion whose ``reduction`` is "sum" they are the losses
        divided by the rows. With any other, whose loss is taken for a mean over rows, "train_loss_mean" is the mean of
        the mini-batches' losses, each weighted by its rows, and "val_loss_mean" is "val_loss". NaN for epochs of files
        that were saved without them.
    "val_<name>"
        A metric of the validation data after the epoch, for each of ``train_model(..., metrics=...)``.

    Attributes
    ----------
    seconds : float
        Wall time of the training, validation included; of all its parts if it was interrupted.
    backend : "engine", "modules" or ""
        What trained: the compiled engine, or the modules' own methods one by one. "" before a training.
    fallback_reason : str
        Why the engine did not; "" if it did.
    stopped_by : "epochs", "early_stopping", "max_seconds", "progress" or ""
        What ended the last call of ``train_model``: that all epochs were done, one of its arguments, or "" for an
        exception.
    best : BestEpoch or None
        What early stopping has noted.

    A training adds to a history that it is handed, ``train_model(..., history=history)``, and goes on where it stops.
    """

    backend: Backend | Literal[""] = ""
    fallback_reason = ""
    stopped_by: StoppedBy | Literal[""] = ""
    seconds = 0.0
    setting: TrainingSetup | None = None
    best: BestEpoch | None = None

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {name: [] for name in _SERIES}
        self.position = Position()

    def __getitem__(self, name: str) -> list[float]:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def record(self, finished: Epochs, position: Position) -> None:
        """Add what finished epochs left, and where the training stands after them."""
        for name, new in zip(_SERIES, finished, strict=True):
            self._values[name] += new
        self.position = position

    def begin(self, setting: TrainingSetup, backend: Backend | Literal[""], fallback_reason: str) -> None:
        """Note what is trained, with the series of its metrics, and what trains it."""
        if len(self._values) > len(_SERIES) and not self.has_begun:
            self._values = {name: self._values[name] for name in _SERIES}
        for name in setting.metrics:
            self._values.setdefault(f"val_{name}", [])
        self.setting, self.stopped_by = setting, ""
        self.backend, self.fallback_reason = backend, fallback_reason

    def record_metrics(self, names: Sequence[str], values: Sequence[float]) -> None:
        """Add the metrics of the last finished epoch."""
        for name, value in zip(names, values, strict=True):
            self._values[f"val_{name}"].append(value)

    def note_on(self, error: BaseException) -> None:
        """Be the ``history`` of an exception that ends the training, unless that has another thing of this name."""
        if isinstance(getattr(error, "history", self), History):
            with suppress(AttributeError, TypeError):  # of exceptions that take no attributes
                error.history = self  # type: ignore[attr-defined]

    @property
    def has_begun(self) -> bool:
        """Whether a mini-batch has been trained."""
        return self.epochs > 0 or self.position.batches > 0

    def check_going_on(self, setting: TrainingSetup, epochs: int) -> None:
        """Raise ValueError unless a training of ``setting`` up to ``epochs`` can go on from here."""
        if self.setting is None or not self.has_begun:
            return
        _require_same_parameters(self.setting.parameters, setting.parameters)
        for name in ("training_rows", "mini_batch_size", "shuffle", "recorded_series", "metrics"):
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

    def warn_if_complete(self, epochs: int) -> None:
        """Warn the caller of fastbp where a training up to ``epochs`` has nothing left to do."""
        if self.epochs == epochs > 0:
            warn(
                f"this history already has {epochs} of {epochs} epochs, and nothing is trained; pass a larger epochs "
                "to go on"
            )

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return len(self._values["train_loss"])

    @property
    def best_epoch(self) -> int | None:
        """The best epoch that early stopping has noted, from 1; None if there is none."""
        return None if self.best is None else self.best.epoch

    @property
    def metrics(self) -> list[str]:
        """Names of the series of metrics: "val_<name>" for each of ``train_model(..., metrics=...)``."""
        return [name for name in self._values if name not in _SERIES]

    def last(self) -> dict[str, float]:
        """Return the last epoch's losses per sample, accuracy and metrics, as far as they are recorded."""
        shown = ("train_loss_mean", "val_loss_mean", "val_accuracy", *self.metrics)
        return {name: self._values[name][-1] for name in shown if self._values[name]}

    def as_arrays(self) -> dict[str, Array]:
        """Return every series as a float64 array of shape (epochs,), or (0,) where nothing was recorded."""
        return {name: np.array(values, dtype=np.float64) for name, values in self._values.items()}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the losses per sample against the epoch, the accuracy on an axis of its own, and metrics below.

        Needs matplotlib. On an ``ax`` of yours the metrics are left out.
        """
        from fastbp.plots import plot_history

        return plot_history(self, ax)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {value:.6g}" for name, value in self.last().items())
        return f"History({self.epochs} epochs in {self.seconds:.3g} s{': ' if last else ''}{last})"


def _require_same_parameters(had: str, came: str) -> None:
    for one, other in zip_longest(had.split("; "), came.split("; "), fillvalue="no more parameters"):
        if had and one != other:
            raise ValueError(
                f"this history is of a training of another model, with {one}, got {other}; "
                "give another training a new History()"
            )

"""Metrics: numbers for the predictions of the validation data, computed after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from fastbp.nn.module import Module
from fastbp.training.accuracy import accuracy, has_classes, records_accuracy
from fastbp.training.data import misfit
from fastbp.training.training_run import Criterion, TrainingRun, guarded_rows
from fastbp.validation.arrays import Array
from fastbp.validation.scalars import is_number
from fastbp_kernels.network.arguments import Rows

Metric: TypeAlias = Callable[[Array, Array], float]
"""A function of predictions and targets, a row a sample each."""


@np.errstate(all="ignore")  # of predictions that are not finite it is none, which a training tells in its own way
def mae(prediction: Array, target: Array) -> float:
    """Return the mean absolute error over all elements."""
    return float(np.abs(np.subtract(prediction, target, dtype=np.float64)).mean()) if target.size else float("nan")


@np.errstate(all="ignore")
def r2(prediction: Array, target: Array) -> float:
    """Return R², the coefficient of determination: the mean over the outputs, as ``sklearn.metrics.r2_score``.

    An output whose targets are all the same counts 1 where it is exact and else 0; fewer than two rows give NaN.
    """
    if len(target) < 2:
        return float("nan")
    residual = (np.subtract(prediction, target, dtype=np.float64) ** 2).sum(axis=0)
    spread = ((target - target.mean(axis=0, dtype=np.float64)) ** 2).sum(axis=0)
    scores = 1 - residual / np.where(spread == 0, 1, spread)
    return float(np.where(spread == 0, residual == 0, scores).mean())


_BY_NAME: dict[str, Metric] = {"accuracy": accuracy, "mae": mae, "r2": r2}
_TAKEN = ("loss", "loss_mean", "accuracy")


def read_metrics(metrics: Iterable[str | Metric] | Mapping[str, Metric]) -> dict[str, Metric]:
    """Return functions by their names, or raise TypeError or ValueError."""
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise TypeError(f"train_model takes metrics as a list of names and functions, got {metrics!r}; pass a list")
    given = metrics.items() if isinstance(metrics, Mapping) else [_named(metric) for metric in metrics]
    found: dict[str, Metric] = {}
    for name, metric in given:
        if not isinstance(name, str) or not callable(metric):
            raise TypeError(f"train_model takes metrics as names and functions, got {name!r}: {metric!r}")
        if name in found or (name in _TAKEN and metric is not accuracy):
            raise ValueError(
                f"train_model takes metrics of different names, got {name!r} again; pass {{'another name': function}}"
            )
        found[name] = metric
    return found


def _named(metric: Any) -> tuple[Any, Any]:
    if isinstance(metric, str):
        if metric not in _BY_NAME:
            raise ValueError(f"train_model knows the metrics {', '.join(_BY_NAME)}, got {metric!r}; pass a function")
        return metric, _BY_NAME[metric]
    name = getattr(metric, "__name__", "<lambda>")
    if callable(metric) and name == "<lambda>":
        raise ValueError(f"train_model takes metrics that have names, got {metric!r}; pass {{'its name': function}}")
    return name, metric


class MetricRecorder:
    """Computes metrics of the validation data and records them.

    It computes them once at the beginning, so that one that does not fit is refused before anything changes.

    Parameters
    ----------
    metrics : see ``train_model``
    model : Module
    criterion : Criterion
    validation : Rows or None

    Attributes
    ----------
    names : tuple of str
        Of the metrics that are recorded here.
    """

    def __init__(
        self,
        metrics: Iterable[str | Metric] | Mapping[str, Metric],
        model: Module,
        criterion: Criterion,
        validation: Rows | None,
    ) -> None:
        self._metrics = read_metrics(metrics)
        if validation is None:
            raise ValueError("train_model takes metrics with val_input and val_target, got metrics without them")
        self._model, self._validation = model, guarded_rows(validation)
        if accuracy in self._metrics.values():
            self._read_accuracy(criterion)
        self.names = tuple(self._metrics)
        self._compute(self._checked_prediction())

    def _read_accuracy(self, criterion: Criterion) -> None:
        """Leave accuracy to the trainer where that records it, or compute it here, of logits."""
        if not has_classes(self._validation.target):
            raise ValueError(
                "train_model takes the metric 'accuracy' with one-hot targets, a single column of 0 and 1, or class "
                f"indices, got others of shape {self._validation.target.shape}"
            )
        if records_accuracy(criterion, self._validation):
            del self._metrics["accuracy"]
        else:
            self._metrics["accuracy"] = partial(accuracy, threshold=0.0)

    def _checked_prediction(self) -> Array:
        prediction: Array = self._model.predict(self._validation.input)
        target = self._validation.target
        for name, metric in self._metrics.items():
            if metric in (mae, r2) and prediction.shape != target.shape:
                owner = f"train_model with the metric {name!r}"
                raise ValueError(misfit(owner, "val_input", "val_target", prediction.shape, target))
        return prediction

    def _compute(self, prediction: Array) -> list[float]:
        values = []
        for name, metric in self._metrics.items():
            value = metric(prediction, self._validation.target)
            if not is_number(value):
                came = type(value).__name__
                raise TypeError(f"train_model takes metrics that return a number, got {came} from {name!r}")
            values.append(float(value))
        return values

    def record(self, run: TrainingRun) -> None:
        """Compute and record what is missing of the last finished epoch, at whose end the model stands."""
        history = run.history
        if self.names and len(history[f"val_{self.names[0]}"]) < history.epochs:
            values = self._compute(self._model.predict(self._validation.input))
            with run.held:
                history.record_metrics(self.names, values)

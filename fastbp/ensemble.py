"""Several models that predict together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from fastbp.checkpoint.models_file import load_models, save_models
from fastbp.engine.plan import Plan, plan_of
from fastbp.nn.module import Module
from fastbp.runtime.crew import share_out
from fastbp.runtime.threads import FLOP_PER_START, get_num_threads
from fastbp.validation.arrays import Array


class Ensemble:
    """Models that answer together: their mean, and how far they agree.

    Members that were trained from different seeds, or each on a bootstrap sample, differ where the data say little
    (Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty estimation using deep
    ensembles", 2017). ``train_models`` trains all in one call.

    Parameters
    ----------
    models : iterable of Module
        One or more; of one dtype and with outputs of one shape, but of any widths and depths.

    Attributes
    ----------
    models : tuple of Module

    Raises
    ------
    TypeError, ValueError
    """

    def __init__(self, models: Iterable[Module]) -> None:
        if not isinstance(models, Iterable):
            raise TypeError(f"Ensemble takes several Modules, got {models!r}")
        self.models = tuple(models)
        if not self.models:
            raise ValueError("Ensemble takes one model or more, got none")
        for number, model in enumerate(self.models):
            if not isinstance(model, Module):
                raise TypeError(f"Ensemble takes Modules, got {type(model).__name__} as model {number}")

    def __len__(self) -> int:
        return len(self.models)

    def __repr__(self) -> str:
        return f"Ensemble({len(self)} models)"

    def predict_members(self, input: Array) -> Array:
        """Return each model's prediction, an array of shape (models, n, ...), the bits of ``model.predict(input)``.

        Raises
        ------
        TypeError, ValueError
            What ``predict`` of a model raises; ValueError if outputs are of several shapes.
        """
        predictions = self._predictions(input)
        shapes = {prediction.shape for prediction in predictions}
        if len(shapes) > 1:
            raise ValueError(f"Ensemble takes models with outputs of one shape, got {sorted(shapes)}")
        return np.stack(predictions)

    def predict(self, input: Array) -> Array:
        """Return the mean of the models' predictions, (n, ...), in the models' dtype."""
        return self._mean(self.predict_members(input))

    def predict_std(self, input: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation over the models, (n, ...) each; the deviation divides by their number."""
        members = self.predict_members(input)
        return self._mean(members), members.std(axis=0, dtype=np.float64).astype(members.dtype)

    def predict_quantiles(self, input: Array, quantiles: float | Sequence[float] | Array) -> Array:
        """Return quantiles over the models, such as (0.05, 0.95): (quantiles, n, ...), or (n, ...) for one number.

        Between two models they are interpolated, as by ``numpy.quantile``.
        """
        members = self.predict_members(input)
        wanted = np.asarray(quantiles)
        if wanted.dtype.kind not in "fiu" or wanted.ndim > 1 or not ((wanted >= 0) & (wanted <= 1)).all():
            raise ValueError(f"Ensemble takes quantiles from 0 to 1, a number or several, got {quantiles!r}")
        return np.asarray(np.quantile(members, wanted.astype(np.float64), axis=0), members.dtype)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all models to one file, whole or not at all. Needs ``pip install "fastbp[checkpoint]"``.

        Raises
        ------
        TypeError
            For models with modules or methods of your own.
        OSError
        """
        save_models(path, self.models)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Ensemble:
        """Read what ``save`` wrote.

        Raises
        ------
        fastbp.CheckpointError
            If it is not such a file, or a damaged one.
        OSError
        """
        return cls(load_models(path))

    @staticmethod
    def _mean(members: Array) -> Array:
        return np.asarray(members.mean(axis=0, dtype=np.float64), members.dtype)  # no sum of float32 loses digits

    def _predictions(self, input: Array) -> list[Array]:
        """Return the predictions, of large work by one thread to a model."""
        plans = [plan_of(model) for model in self.models]
        rows = input.size // max(1, input.shape[-1]) if isinstance(input, np.ndarray) and input.ndim else 0
        flop = sum(plan.flop for plan in plans if isinstance(plan, Plan)) * rows
        threads = min(get_num_threads(), len(plans), int(flop // FLOP_PER_START))
        if threads <= 1 or not all(isinstance(plan, Plan) and plan.may_predict for plan in plans):
            return [model.predict(input) for model in self.models]
        found: list[Any] = [None] * len(plans)

        def predict(number: int) -> None:
            try:
                found[number] = self.models[number].predict(input)
            except (TypeError, ValueError, RuntimeError) as error:
                found[number] = error

        with closing(share_out(range(len(plans)), threads, predict)) as done:
            for _ in done:
                pass
        for prediction in found:
            if isinstance(prediction, Exception):
                raise prediction
        return found

"""Cross-validation: a model for each fold, all trained in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.ensemble import Ensemble
from fastbp.nn.module import Module
from fastbp.training.history import History
from fastbp.training.many import train_models
from fastbp.training.many_job import TrainingJob
from fastbp.training.training_run import Criterion, Optimizer
from fastbp.validation.arrays import Array, RandomSource, require_generator


@dataclass(frozen=True)
class CrossValidation:
    """What ``cross_validate`` found, fold by fold.

    Attributes
    ----------
    models : list of Module
    histories : list of History
    val_rows : list of ndarray of integers
        The rows that each fold was validated with.
    """

    models: list[Module]
    histories: list[History]
    val_rows: list[Array]

    def scores(self, name: str = "val_loss_mean") -> Array:
        """Return one number of each fold's history, float64 of shape (folds,): of its best epoch, else its last.

        The best epoch is that of early stopping.
        """
        return np.array([history[name][(history.best_epoch or history.epochs) - 1] for history in self.histories])

    @property
    def ensemble(self) -> Ensemble:
        """All models, to predict together."""
        return Ensemble(self.models)


def cross_validate(
    build: Callable[[int], tuple[Module, Criterion, Optimizer]],
    train_input: Array,
    train_target: Array,
    epochs: int,
    mini_batch_size: int,
    *,
    folds: int | Iterable[tuple[Array, Array]] = 5,
    rng: RandomSource = None,
    progress: bool | None = None,
    **options: Any,
) -> CrossValidation:
    """Train a model for each fold on the rows outside of it, validate it on those within, all in one call.

    Parameters
    ----------
    build : callable
        Called with the number of each fold, from 0; returns a new model, a criterion and an optimiser over the model.
    train_input, train_target : ndarray of shape (n, ...)
    epochs, mini_batch_size : int
    folds : int or iterable of (rows, val_rows)
        A number of folds of nearly equal size, or their rows, as ``KFold().split(train_input)`` of scikit-learn yields
        them.
    rng : numpy.random.Generator, int or None
        Draws which rows belong to which of a number of folds; None takes them as they stand, block by block.
    progress : bool or None
        As ``train_models`` takes it.
    **options
        Of ``TrainingJob``, the same for all folds. With ``shuffle=True`` each fold has a generator of its own, seeded
        by its number.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit; and what ``train_models`` raises.
    """
    own = {"model", "criterion", "opt", "rows", "val_rows", "val_input", "val_target", "name"} & options.keys()
    if own:
        raise TypeError(f"cross_validate chooses {', '.join(sorted(own))} for each fold, and takes none")
    chosen = _folds(folds, len(train_input), rng)
    jobs = []
    for number, (rows, val_rows) in enumerate(chosen):
        built = build(number)
        if not isinstance(built, tuple) or len(built) != 3:
            raise TypeError(f"cross_validate takes a build that returns model, criterion and optimiser, got {built!r}")
        model, criterion, opt = built
        job = TrainingJob(
            model=model, criterion=criterion, opt=opt, epochs=epochs, mini_batch_size=mini_batch_size,
            train_input=train_input, train_target=train_target, rows=rows, val_rows=val_rows, name=f"fold {number}",
            rng=number if options.get("shuffle") else None, **options,
        )  # fmt: skip
        jobs.append(job)
    histories = train_models(jobs, progress=progress)
    return CrossValidation([job.model for job in jobs], histories, [val_rows for _, val_rows in chosen])


def _folds(folds: Any, rows: int, rng: RandomSource) -> list[tuple[Array, Array]]:
    if isinstance(folds, bool) or not isinstance(folds, int | np.integer | Iterable):
        raise TypeError(f"cross_validate takes folds as an int or as pairs (rows, val_rows), got {folds!r}")
    if isinstance(folds, Iterable):
        pairs = [fold if isinstance(fold, tuple | list) else (fold,) for fold in folds]
        wrong = [pair for pair in pairs if len(pair) != 2]
        if wrong or not pairs:
            came = f"a fold of {len(wrong[0])}" if wrong else "no fold"
            raise ValueError(f"cross_validate takes each fold as a pair (rows, val_rows), and one or more, got {came}")
        return [(rows, val_rows) for rows, val_rows in pairs]
    if not 2 <= folds <= rows:
        raise ValueError(f"cross_validate takes 2 to {rows} folds for {rows} rows, got {folds}")
    order = np.arange(rows) if rng is None else require_generator(rng, "cross_validate").permutation(rows)
    parts = np.array_split(order, int(folds))
    return [(np.sort(np.concatenate(parts[:k] + parts[k + 1 :])), np.sort(part)) for k, part in enumerate(parts)]

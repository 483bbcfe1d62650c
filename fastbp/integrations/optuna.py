"""Optuna's studies: trials that stop early, and many trials that are trained in one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import isfinite
from typing import TYPE_CHECKING, Any

from fastbp.training.history import History
from fastbp.training.many import TrainingsFailed, train_models
from fastbp.training.many_job import TrainingJob
from fastbp.validation.callers import level_of_caller
from fastbp.validation.scalars import require_count

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError('fastbp.integrations.optuna needs Optuna: pip install "fastbp[optuna]"') from error
    return optuna


class _NotRecorded(ValueError):
    """The training does not record the series that is to be reported."""


class PruningCallback:
    """Reports each epoch to a trial, and ends the training where the study's pruner tells: ``progress`` of a training.

        def objective(trial):
            ...
            history = fastbp.train_model(..., progress=PruningCallback(trial))
            return history["val_loss_mean"][-1]

    Parameters
    ----------
    trial : optuna.trial.Trial
    monitor : str
        The series of ``History`` that is reported.
    raises : bool
        Whether to raise ``optuna.TrialPruned``, which ``study.optimize`` takes; else the training stops by itself, and
        ``pruned`` tells.

    Attributes
    ----------
    pruned : bool
    """

    def __init__(self, trial: Trial, monitor: str = "val_loss_mean", *, raises: bool = True) -> None:
        self._trial, self._monitor, self._raises = trial, monitor, raises
        self._pruned = _optuna().TrialPruned
        self.pruned = False

    def __call__(self, history: History) -> bool:
        """Report the last epoch; return True to stop."""
        values = history.get(self._monitor, [])
        if not values:
            recorded = ", ".join(history)
            raise _NotRecorded(
                f"PruningCallback takes a series that the training records, {recorded}, got {self._monitor!r}"
            )
        self._trial.report(values[-1], history.epochs)
        self.pruned = self._trial.should_prune()
        if self.pruned and self._raises:
            raise self._pruned(f"after {history.epochs} epochs with {self._monitor} {values[-1]:g}")
        return self.pruned


def optimize(
    study: Study,
    build: Callable[[Trial], TrainingJob],
    n_trials: int,
    *,
    at_once: int = 8,
    monitor: str = "val_loss_mean",
    progress: bool | None = False,
) -> None:
    """Ask a study for many trials at once, train them in one call, and tell it what came of each.

    The trials of a call are drawn before any of them is told: a sampler that learns from trials learns from call to
    call. The study's pruner ends trainings after an epoch. A trial whose training raises, or ends with NaN or infinity,
    fails, and the others go on.

    Parameters
    ----------
    study : optuna.Study
        Of one objective.
    build : callable
        Returns the job of a trial, from what ``trial.suggest_float`` and the like give it; without a ``progress``.
        Raising ``optuna.TrialPruned`` prunes the trial.
    n_trials : int
        In all.
    at_once : int
        Trials that are trained in one call, 1 or more.
    monitor : str
        The series of ``History`` that is reported after each epoch; the value of a trial is its last number, or that
        of the best epoch of early stopping.
    progress : bool or None
        A bar over the models of each call, as ``train_models`` takes it.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit, before a trial is asked for; for a job that cannot be trained, or that does not
        record ``monitor``: the trials of the call fail.

    Warns
    -----
    RuntimeWarning
        For each trial whose training raised an error, with its text.
    """
    n_trials, at_once = (
        require_count(n_trials, "optimize", "n_trials"),
        require_count(at_once, "optimize", "at_once", 1),
    )
    if len(study.directions) > 1:
        raise ValueError(f"optimize takes a study of one objective, got one of {len(study.directions)}")
    done = 0
    while done < n_trials:
        number = min(at_once, n_trials - done)
        _optimize_some(study, build, number, monitor, progress)
        done += number


def _require_job(job: Any, trial: Trial) -> None:
    if not isinstance(job, TrainingJob):
        raise TypeError(
            f"optimize takes a build that returns a fastbp.TrainingJob, got {job!r} for trial {trial.number}"
        )
    if job.progress is not None:
        raise ValueError(f"optimize reports to the study by progress, and takes jobs without, got {job.progress!r}")


def _optimize_some(
    study: Study, build: Callable[[Trial], TrainingJob], number: int, monitor: str, progress: bool | None
) -> None:
    optuna, states = _optuna(), _optuna().trial.TrialState
    open_trials = [study.ask() for _ in range(number)]
    trials, jobs, callbacks = [], [], []
    errors: dict[int, BaseException] = {}
    try:
        for trial in list(open_trials):
            try:
                job = build(trial)
            except optuna.TrialPruned:
                study.tell(trial, state=states.PRUNED)
                open_trials.remove(trial)
                continue
            _require_job(job, trial)
            callback = PruningCallback(trial, monitor, raises=False)
            arguments = vars(job) | {"progress": callback, "name": job.name or f"trial {trial.number}"}
            trials.append(trial)
            callbacks.append(callback)
            jobs.append(TrainingJob(**arguments))
        try:
            histories = train_models(jobs, progress=progress)
        except TrainingsFailed as failed:
            histories, errors = failed.histories, failed.errors
        for error in errors.values():
            if isinstance(error, _NotRecorded):
                raise error
        for place, error in errors.items():
            text = f"trial {trials[place].number} failed: {type(error).__name__}: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=level_of_caller())
        for place, (trial, callback, history) in enumerate(zip(trials, callbacks, histories, strict=True)):
            values = history[monitor] if place not in errors else []
            value = values[(history.best_epoch or history.epochs) - 1] if values else float("nan")
            if callback.pruned:
                study.tell(trial, state=states.PRUNED)
            elif isfinite(value):
                study.tell(trial, value)
            else:
                study.tell(trial, state=states.FAIL)
            open_trials.remove(trial)
    finally:
        for trial in open_trials:  # an error or Ctrl-C
            study.tell(trial, state=states.FAIL)

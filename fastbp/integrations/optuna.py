"""Optuna's studies: trials that stop early, and many trials that are trained in one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, isfinite, nan
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fastbp.training.many import TrainingsFailed, train_models
from fastbp.training.many_job import TrainingJob
from fastbp.validation.callers import level_of_caller
from fastbp.validation.scalars import require_count, require_number

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError('fastbp.integrations.optuna needs Optuna: pip install "fastbp[optuna]"') from error
    return optuna


class _NotRecorded(ValueError):
    """The training does not record the series that is to be reported."""


class PruningCallback:
    """Reports each epoch to a trial, and ends the training where the study's pruner tells.

    It is the ``progress`` of a training::

        def objective(trial):
            ...
            history = fastbp.train_model(..., progress=PruningCallback(trial))
            return history["val_loss_mean"][-1]

    and of an estimator as well::

        MLPClassifier(..., early_stopping=True, progress=PruningCallback(trial, "validation_scores_")).fit(X, y)

    Parameters
    ----------
    trial : optuna.trial.Trial
    monitor : str or None
        The series of ``History`` that is reported, or an estimator's list with a number for each epoch:
        ``"validation_scores_"``, for a study that maximizes, or ``"loss_curve_"``. None for "val_loss_mean" or
        ``"loss_curve_"``.
    raises : bool
        Whether to raise ``optuna.TrialPruned``, which ``study.optimize`` takes; else the training stops by itself, and
        ``pruned`` tells.

    Attributes
    ----------
    pruned : bool
    """

    def __init__(self, trial: Trial, monitor: str | None = None, *, raises: bool = True) -> None:
        self._trial, self._monitor, self._raises = trial, monitor, raises
        self._pruned = _optuna().TrialPruned
        self.pruned = False

    def __call__(self, trained: Any) -> bool:
        """Report the last epoch of a ``History`` or an estimator; return True to stop."""
        monitor, recorded = self._series_of(trained)
        values = recorded.get(monitor)
        if not values:
            raise _NotRecorded(
                f"PruningCallback takes a series that the training records, {', '.join(recorded)}, got {monitor!r}"
            )
        self._trial.report(values[-1], len(values))
        self.pruned = self._trial.should_prune()
        if self.pruned and self._raises:
            raise self._pruned(f"after {len(values)} epochs with {monitor} {values[-1]:g}")
        return self.pruned

    def _series_of(self, trained: Any) -> tuple[str, Mapping[str, Any]]:
        """Return the name of what is reported, and all that could be."""
        if isinstance(trained, Mapping):
            return self._monitor or "val_loss_mean", trained
        series = {name: getattr(trained, name, None) for name in ("loss_curve_", "validation_scores_")}
        return self._monitor or "loss_curve_", {name: values for name, values in series.items() if values}


def optimize(
    study: Study,
    build: Callable[[Trial], TrainingJob],
    n_trials: int | None = None,
    *,
    at_once: int = 8,
    monitor: str = "val_loss_mean",
    progress: bool | None = False,
    timeout: float | None = None,
    catch: type[Exception] | Iterable[type[Exception]] = (),
    callbacks: Iterable[Callable[[Study, FrozenTrial], object]] | None = None,
) -> None:
    """Ask a study for many trials at once, train them in one call, and tell it what came of each.

    The trials of a call are drawn before any of them is told: a sampler that learns from trials learns from call to
    call. The study's pruner ends trainings after an epoch. A trial whose training raises, or ends with NaN or infinity,
    fails, and the others go on. ``study.stop()``, in ``build`` or a callback, ends it behind the call that runs.

    Parameters
    ----------
    study : optuna.Study
        Of one objective.
    build : callable
        Returns the job of a trial, from what ``trial.suggest_float`` and the like give it; without a ``progress``.
        Raising ``optuna.TrialPruned`` prunes the trial.
    n_trials : int or None
        In all; None for no end but by ``timeout`` or ``study.stop()``.
    at_once : int
        Trials that are trained in one call, 1 or more.
    monitor : str
        The series of ``History`` that is reported after each epoch; the value of a trial is its last number, or that
        of the best epoch of early stopping.
    progress : bool or None
        A bar over the models of each call, as ``train_models`` takes it.
    timeout : float or None
        Seconds after which no other call begins.
    catch : class of exceptions, or iterable of them
        Those that fail the trial whose ``build`` raises one, or the trials of a call whose jobs cannot be trained; the
        study goes on. Others end it.
    callbacks : iterable of callable, or None
        Called with the study and an ``optuna.trial.FrozenTrial`` after each trial, as by ``study.optimize``.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit, before a trial is asked for; for a job that cannot be trained, or that does not
        record ``monitor``: the trials of the call fail.

    Warns
    -----
    RuntimeWarning
        For each trial that failed by an error and did not end the study, with its text.
    """
    left = inf if n_trials is None else require_count(n_trials, "optimize", "n_trials")
    at_once = require_count(at_once, "optimize", "at_once", 1)
    seconds = inf if timeout is None else require_number(timeout, "optimize", "timeout")
    if len(study.directions) > 1:
        raise ValueError(f"optimize takes a study of one objective, got one of {len(study.directions)}")
    if "stop" in vars(study):
        raise RuntimeError("optimize takes a study that no other optimize is at work on, got one within another's call")
    trials = _Trials(study, build, monitor, _exceptions(catch), _functions(callbacks))
    begun = perf_counter()
    vars(study)["stop"] = trials.stop  # the study's own raises outside of its ``optimize``
    try:
        while left > 0 and not trials.is_stopped and perf_counter() - begun < seconds:
            trials.run(int(min(at_once, left)), progress)
            left -= at_once
    finally:
        del vars(study)["stop"]


def _exceptions(catch: Any) -> tuple[type[Exception], ...]:
    kinds = tuple(catch) if isinstance(catch, Iterable) else (catch,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError(f"optimize takes catch as a class of exceptions or several, got {kind!r}")
    return kinds


def _functions(callbacks: Any) -> tuple[Callable[[Study, FrozenTrial], object], ...]:
    functions = tuple(callbacks or ()) if isinstance(callbacks, Iterable | None) else (None,)
    for function in functions:
        if not callable(function):
            raise TypeError(f"optimize takes callbacks as functions of a study and a trial, got {callbacks!r}")
    return functions


def _require_job(job: Any, trial: Trial) -> None:
    if not isinstance(job, TrainingJob):
        raise TypeError(
            f"optimize takes a build that returns a fastbp.TrainingJob, got {job!r} for trial {trial.number}"
        )
    if job.progress is not None:
        raise ValueError(f"optimize reports to the study by progress, and takes jobs without, got {job.progress!r}")


class _Trials:
    """The trials of one ``optimize``, asked for, trained and told some at a time."""

    def __init__(
        self, study: Study, build: Callable[[Trial], TrainingJob], monitor: str, catch: tuple[type[Exception], ...],
        callbacks: tuple[Callable[[Study, FrozenTrial], object], ...],
    ) -> None:  # fmt: skip
        self._study, self._build, self._monitor = study, build, monitor
        self._catch, self._callbacks = catch, callbacks
        self._open: list[Trial] = []  # asked for and not told
        self.is_stopped = False

    def stop(self) -> None:
        """End behind the trials that run: what ``study.stop`` is meanwhile."""
        self.is_stopped = True

    def run(self, number: int, progress: bool | None) -> None:
        """Train so many trials in one call, and tell the study of each."""
        self._open = [self._study.ask() for _ in range(number)]
        try:
            jobs = self._jobs()
            try:
                histories = train_models([job for _, job in jobs.values()], progress=progress)
                errors: Mapping[int, BaseException] = {}
            except TrainingsFailed as failed:
                histories, errors = failed.histories, failed.errors
            except self._catch as error:
                self._fail_all(jobs, error)
                return
            self._tell_all(jobs, histories, errors)
        finally:
            for trial in self._open:  # an error or Ctrl-C
                self._study.tell(trial, state=_optuna().trial.TrialState.FAIL)

    def _jobs(self) -> dict[Trial, tuple[PruningCallback, TrainingJob]]:
        """Return what is to be trained, and tell of the other trials."""
        jobs = {}
        for trial in list(self._open):
            try:
                jobs[trial] = self._job_of(trial)
            except _optuna().TrialPruned:
                self._tell(trial, state=_optuna().trial.TrialState.PRUNED)
            except self._catch as error:
                self._fail_all([trial], error)
        return jobs

    def _tell_all(
        self, jobs: Mapping[Trial, tuple[PruningCallback, TrainingJob]], histories: Sequence[Any],
        errors: Mapping[int, BaseException],
    ) -> None:  # fmt: skip
        states = _optuna().trial.TrialState
        for unknown in errors.values():
            if isinstance(unknown, _NotRecorded):
                raise unknown
        for place, (trial, (callback, _)) in enumerate(jobs.items()):
            if place in errors:
                self._fail_all([trial], errors[place])
                continue
            history = histories[place]
            value = history[self._monitor][(history.best_epoch or history.epochs) - 1] if history.epochs else nan
            if callback.pruned:
                self._tell(trial, state=states.PRUNED)
            elif isfinite(value):
                self._tell(trial, value)
            else:
                self._tell(trial, state=states.FAIL)

    def _job_of(self, trial: Trial) -> tuple[PruningCallback, TrainingJob]:
        job = self._build(trial)
        _require_job(job, trial)
        callback = PruningCallback(trial, self._monitor, raises=False)
        arguments = vars(job) | {"progress": callback, "name": job.name or f"trial {trial.number}"}
        return callback, TrainingJob(**arguments)

    def _fail_all(self, trials: Iterable[Trial], error: BaseException) -> None:
        """Tell that trials failed, and warn of the error."""
        for trial in trials:
            text = f"trial {trial.number} failed: {type(error).__name__}: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=level_of_caller())
            self._tell(trial, state=_optuna().trial.TrialState.FAIL)

    def _tell(self, trial: Trial, value: float | None = None, state: Any = None) -> None:
        told = self._study.tell(trial, value, state=state)
        self._open.remove(trial)
        for callback in self._callbacks:
            callback(self._study, told)

"""Many trainings in one call: models of any shapes side by side, one thread to a model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from threading import Lock
from typing import Any

from fastbp.runtime.crew import share_out
from fastbp.runtime.threads import get_num_threads, threads_limited
from fastbp.training.arguments import count
from fastbp.training.history import History
from fastbp.training.many_job import TrainingJob
from fastbp.training.many_kinds import EngineWork, kind_of, require_like_the_first, work_in_engine
from fastbp.training.many_ownership import require_own_parts
from fastbp.training.nonfinite import DivergenceWarning
from fastbp.training.progress import ProgressBar
from fastbp.training.schedule import require_schedule
from fastbp.training.shuffle import generator_at
from fastbp.training.train_model import train_model
from fastbp.validation.callers import level_of_caller, warnings_to


class TrainingsInterrupted(KeyboardInterrupt):
    """Ctrl-C in ``train_models``: each model is at a finished mini-batch.

    Attributes
    ----------
    histories : list of History
        What was recorded so far, of each job. The same call with ``histories=`` these finishes the trainings.
    """

    def __init__(self, histories: list[History]) -> None:
        super().__init__(
            f"{sum(bool(history.stopped_by) for history in histories)} of {len(histories)} trainings had ended; the "
            "same call with histories=<this exception>.histories goes on from there"
        )
        self.histories = histories


class TrainingsFailed(RuntimeError):
    """Some jobs of ``train_models`` raised an error; the others were trained to their end.

    Attributes
    ----------
    errors : dict of int to BaseException
        What the jobs that failed raised, by their places in the list.
    histories : list of History
        What was recorded, of each job. The same call with ``histories=`` these goes on with those that failed.
    """

    def __init__(self, errors: dict[int, BaseException], histories: list[History], names: Sequence[str]) -> None:
        told = "; ".join(f"{names[job]}: {type(error).__name__}: {error}" for job, error in list(errors.items())[:5])
        more = f"; and {len(errors) - 5} more" if len(errors) > 5 else ""
        super().__init__(f"{len(errors)} of {len(histories)} jobs failed, the others are trained: {told}{more}")
        self.errors, self.histories = errors, histories


def train_models(
    jobs: Iterable[TrainingJob],
    *,
    histories: Sequence[History] | None = None,
    progress: bool | None = None,
) -> list[History]:
    """Train many models, each as ``train_model`` would alone, with the same bits, and return their histories.

    Each model is trained by one thread, and as many at a time as ``fastbp.get_num_threads()`` tells; the order does not
    matter. A model for which all others would wait at the end is shared among threads, where ``train_model`` would
    share it. Those that the engine does not take are trained one after another, for Python runs one thread at a time.

    Parameters
    ----------
    jobs : iterable of TrainingJob
        No two with a module, parameter, optimiser, generator or criterion of the user's in common.
    histories : sequence of History, or None
        One for each job, where it is recorded. Those of a call that was interrupted or that failed let the same call go
        on, with the same bits: what has ended, by ``progress`` too, is left as it is.
    progress : bool or None
        Whether to show a tqdm bar over the models; None shows it at a terminal or in a notebook.

    Returns
    -------
    list of History
        ``histories``, or new ones.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        Before anything changes: what ``train_model`` raises for the arguments of a job, which the text names.
        Functions of the user's are called for that as before a training.
    TrainingsFailed
        When all are done, if some raised an error; these are as ``train_model`` leaves them.
    TrainingsInterrupted
        On Ctrl-C, within about 0.1 seconds of the engine. Each model is at a finished mini-batch.

    Warns
    -----
    DivergenceWarning
        When all are done, for each job that became NaN or infinite under ``on_nonfinite="warn"``.

    Notes
    -----
    A job that waits takes the memory of its model and its optimiser. One that is trained takes that of ``train_model``,
    and a copy of its ``rows`` and ``val_rows``.
    """
    jobs = list(jobs)
    histories = _histories_of(jobs, histories)
    many = _Trainings(jobs, histories)
    many.train_all(progress)
    many.tell()
    return histories


def train_those_that_can_be(jobs: Iterable[TrainingJob]) -> tuple[list[History], dict[int, BaseException]]:
    """Train as ``train_models`` does, but let no job that is refused keep the others from their trainings.

    Returns
    -------
    histories : list of History
    errors : dict of int to BaseException
        What the jobs raised that were refused or failed, by their places.
    """
    jobs = list(jobs)
    many = _Trainings(jobs, histories := _histories_of(jobs, None), ends_at_refusal=False)
    many.train_all(progress=False)
    many.warn()
    return histories, many.errors


class _Trainings:
    """The trainings of one call, each by the place of its job."""

    def __init__(
        self, jobs: Sequence[TrainingJob], histories: list[History], *, ends_at_refusal: bool = True
    ) -> None:
        self._jobs, self._histories, self._ends_at_refusal = jobs, histories, ends_at_refusal
        self._names = [f"job {number}" + (f" ({job.name})" if job.name else "") for number, job in enumerate(jobs)]
        self.errors: dict[int, BaseException] = {}
        self._warnings: list[tuple[int, str]] = []
        self._progress = Lock()  # one function of the user's at a time
        self._kinds: dict[Hashable, EngineWork] = {}  # of jobs that were checked
        self._work: dict[int, float] = {}  # of those that the engine trains
        self._can_be_shared: set[int] = set()
        self._interrupted = False

    def train_all(self, progress: bool | None) -> None:
        """Check all, then train what has not ended."""
        try:
            require_own_parts(self._jobs, self._histories)
            self._train_all(progress)
        except KeyboardInterrupt:
            raise TrainingsInterrupted(self._histories) from None

    def _train_all(self, progress: bool | None) -> None:
        numbers = range(len(self._jobs))
        if len(numbers) == 1 and not _has_ended(self._jobs[0], self._histories[0]):
            self._train_one()
            return
        for number in numbers:
            with self._refusing(number):
                self.check(number)
        waiting = [number for number in numbers if number not in self.errors]
        waiting = [number for number in waiting if not _has_ended(self._jobs[number], self._histories[number])]
        # What takes long begins first: at the end no thread waits long for another.
        queue = sorted(set(waiting) & self._work.keys(), key=lambda number: -self._work[number])
        too_large = self._too_large(queue)
        queue = [number for number in queue if number not in too_large]
        threads = min(get_num_threads(), len(queue))
        queue = queue if threads > 1 else []
        with closing(ProgressBar(progress, len(numbers), len(numbers) - len(waiting), unit="model")) as bar:
            with closing(share_out(queue, threads, self.train)) as finished:
                for _ in finished:
                    self._pass_interrupt()
                    bar.advance()
            for number in sorted(set(waiting) - set(queue)):
                self.train(number)
                self._pass_interrupt()
                bar.advance()

    def _too_large(self, queue: Sequence[int]) -> set[int]:
        """Return those of ``queue``, the largest first, for which all others would wait at the end.

        All threads share such a model, if that pays: on one it would take longer than each thread's part of all work.
        """
        found, left = set(), sum(self._work[number] for number in queue)
        for number in queue:
            work = self._work[number]
            if number in self._can_be_shared and work * get_num_threads() > left:
                found.add(number)
                left -= work
        return found

    def _pass_interrupt(self) -> None:
        if self._interrupted:
            raise KeyboardInterrupt

    def _train_one(self) -> None:
        """Train the only job, whose check is that of ``train_model``."""
        history = self._histories[0]
        before = history.setting
        self.train(0)
        self._pass_interrupt()
        if self.errors and history.setting is before:  # nothing has begun
            with self._refusing(0):
                raise self.errors[0]

    @contextmanager
    def _refusing(self, number: int) -> Iterator[None]:
        """Name the job in an error that tells of its arguments, or note the error where the others are trained."""
        try:
            yield
        except Exception as error:
            if not self._ends_at_refusal:
                self.errors[number] = error
                return
            if not isinstance(error, TypeError | ValueError | RuntimeError):
                raise
            kind = next(kind for kind in (TypeError, ValueError, RuntimeError) if isinstance(error, kind))
            raise kind(f"{self._names[number]}: {error}") from error

    def check(self, number: int) -> None:
        """Raise an error that names the job unless it can be trained, and note how much work it is for the engine."""
        job, history = self._jobs[number], self._histories[number]
        kind = None if history.has_begun else kind_of(job)
        found = None if kind is None else self._kinds.get(kind)
        if found is None:
            found = work_in_engine(job.model, self._try(job, history))
        else:
            self._in_turn(job.progress)
            require_like_the_first(job)
        if found is None:
            return
        if kind is not None:
            self._kinds[kind] = found
        self._work[number] = float(int(job.epochs) - history.epochs) * found.of_an_epoch
        if found.can_be_shared:
            self._can_be_shared.add(number)

    def _try(self, job: TrainingJob, history: History) -> History:
        """Train no epoch, which checks all arguments and changes nothing; then check that the history can go on."""
        self._in_turn(job.progress)
        arguments = job.arguments() | {"epochs": 0, "progress": False}
        token = warnings_to.set(lambda text, category: None)
        try:
            with threads_limited(1):  # as it is trained: what is found now waits for that
                trial = train_model(**arguments)
        finally:
            warnings_to.reset(token)
        epochs = count("epochs", job.epochs, 0)
        assert trial.setting is not None
        history.check_going_on(trial.setting, epochs)
        if history.has_begun:
            generator_at(job.rng, bool(job.shuffle), history.position.generator)
        schedule = require_schedule(job.scheduler, job.scheduler_interval, job.opt)
        if schedule:
            rows, size = trial.setting.training_rows, trial.setting.mini_batch_size
            schedule.require_steps(history, epochs, -(-rows // size) if rows else None)
        return trial

    def train(self, number: int) -> None:
        """Train, and note what is raised: the other jobs go on."""
        job, history = self._jobs[number], self._histories[number]
        token = warnings_to.set(lambda text, category: self._note(number, text, category))
        try:
            train_model(**job.arguments() | {"history": history, "progress": self._in_turn(job.progress)})
        except KeyboardInterrupt:
            self._interrupted = True
        except BaseException as error:  # whatever a function of the user's raises
            self.errors[number] = error
        finally:
            warnings_to.reset(token)
            if len(self._jobs) > 1:
                vars(job.model)["_session"] = None

    def _in_turn(self, progress: Callable[[History], object] | None) -> Any:
        """Return what calls ``progress`` when no other job's is called; False for None."""
        if progress is None:
            return False
        if not callable(progress):
            raise TypeError(f"TrainingJob takes progress as a callable or None, got {progress!r}")

        def show(history: History) -> object:
            with self._progress:
                return progress(history)

        return show

    def _note(self, number: int, text: str, category: type[Warning]) -> None:
        if category is DivergenceWarning:  # the others tell that there was nothing left to train
            self._warnings.append((number, text))

    def warn(self) -> None:
        """Warn of what diverged."""
        for number, text in sorted(self._warnings):
            warnings.warn(f"{self._names[number]}: {text}", DivergenceWarning, stacklevel=level_of_caller())

    def tell(self) -> None:
        """Warn of what diverged, and raise an error if a job failed."""
        self.warn()
        if self.errors:
            raise TrainingsFailed(dict(sorted(self.errors.items())), self._histories, self._names)


def _histories_of(jobs: Sequence[Any], histories: Any) -> list[History]:
    """Return a history for each job, or raise TypeError or ValueError for jobs or histories that are none."""
    for number, job in enumerate(jobs):
        if not isinstance(job, TrainingJob):
            raise TypeError(f"train_models takes jobs as fastbp.TrainingJob, got {type(job).__name__} as job {number}")
    if histories is None:
        return [History() for _ in jobs]
    given: list[History] = list(histories)
    if len(given) != len(jobs):
        raise ValueError(f"train_models takes a history for each of {len(jobs)} jobs, got {len(given)}")
    for number, history in enumerate(given):
        if not isinstance(history, History):
            raise TypeError(f"train_models takes histories as fastbp.History, got {type(history).__name__} as {number}")
    return given


def _has_ended(job: TrainingJob, history: History) -> bool:
    """Whether a training that goes on has nothing left to do."""
    rule, best = job.early_stopping, history.best
    if history.stopped_by == "early_stopping" and rule is not None and best is not None and best.serves(rule):
        return history.epochs - (best.epoch or best.before) >= rule.patience
    return history.stopped_by == "progress" or (history.stopped_by == "epochs" and history.epochs == job.epochs)

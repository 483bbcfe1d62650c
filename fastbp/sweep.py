"""Sweeps: a model for each of many settings, in this process or spread by joblib over processes and machines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastbp.nn.module import Module
from fastbp.training.history import History
from fastbp.training.many import train_those_that_can_be
from fastbp.training.many_job import TrainingJob
from fastbp.validation.scalars import require_count

_CHUNKS_OF_A_WORKER = 4  # that are asked for at once, where joblib's backend returns nothing before all of it is done
_ROUNDS = 3  # one after another in which no chunk came back, before a sweep is given up


@dataclass(frozen=True)
class SweepResult:
    """What became of one setting.

    Attributes
    ----------
    setting : object
        As it was given.
    model : Module or None
        None where ``build`` raised an error.
    history : History
    error : str
        What ``build``, the check of the job or its training raised; "" if nothing.
    """

    setting: Any
    model: Module | None
    history: History
    error: str = ""


def sweep(
    build: Callable[..., TrainingJob],
    settings: Sequence[Any],
    data: Sequence[Any] = (),
    *,
    chunk_size: int = 32,
    on_chunk: Callable[[list[SweepResult]], object] | None = None,
) -> list[SweepResult]:
    """Train a model for each setting, chunk by chunk, under the joblib backend that is set around the call.

    ``with joblib.parallel_config("loky", n_jobs=4)`` spreads the chunks over processes of this machine, ``"dask"`` over
    the workers of a ``dask.distributed`` client, which may be anywhere, and ``"ray", n_jobs=-1`` over a Ray cluster,
    after ``ray.util.joblib.register_ray()``. Arrays of ``data`` go to each worker once (each machine of Ray), and
    models and histories come back. The bits are the same wherever a chunk is trained. Without such a block all is
    trained in this process, by ``train_models``.

    A worker that is killed costs what it had not finished: chunks that came back are kept, and the others are trained
    anew. Where one process of loky is killed, it ends the others too, each with its chunk. Ray's workers return four
    chunks each at a time, all or none.

    Needs ``pip install "fastbp[sweep]"``.

    Parameters
    ----------
    build : callable
        ``build(setting, *data)`` returns the ``TrainingJob`` of one setting, in the worker. It has to be a function
        that can be pickled, and to draw from seeds that the setting holds.
    settings : sequence
        What can be pickled, such as dicts.
    data : sequence of arrays
        Handed to ``build``.
    chunk_size : int
        Settings that are trained in one call, 1 or more.
    on_chunk : callable or None
        Called in this process with the results of each chunk that comes back.

    Returns
    -------
    list of SweepResult
        In the order of ``settings``. What ``build`` or a training raises, or why a job cannot be trained, is in its
        ``error``, and ends no other.

    Raises
    ------
    ValueError
        For jobs of one chunk that share a part which a training changes, such as a model.
    RuntimeError
        If workers are killed again and again, and nothing comes back.
    """
    chunk_size = require_count(chunk_size, "sweep", "chunk_size", 1)
    settings = list(settings)
    left = {start: settings[start : start + chunk_size] for start in range(0, len(settings), chunk_size)}
    found: dict[int, list[SweepResult]] = {}
    idle = 0
    while left:
        before = len(left)
        for start, results in _rounds(build, left, data):
            del left[start]
            found[start] = results
            if on_chunk is not None:
                on_chunk(results)
        idle = idle + 1 if len(left) == before else 0
        if left and idle == _ROUNDS:
            raise RuntimeError(f"the workers of the sweep were killed {idle} times, with {len(left)} chunks left")
    return [result for start in sorted(found) for result in found[start]]


def train_chunk(
    start: int, build: Callable[..., TrainingJob], settings: Sequence[Any], *data: Any
) -> tuple[int, list[SweepResult]]:
    """Train the models of some settings in one call; return the number of the first one with the results."""
    jobs: dict[int, TrainingJob] = {}
    errors: dict[int, BaseException] = {}
    for number, setting in enumerate(settings):
        try:
            jobs[number] = _require_job(build(setting, *data))
        except _killed():
            raise
        except Exception as error:  # whatever a function of the user's raises
            errors[number] = error
    histories, failed = train_those_that_can_be(jobs.values())
    places = list(jobs)
    errors |= {places[place]: error for place, error in failed.items()}
    trained = dict(zip(jobs, histories, strict=True))
    results = []
    for number, setting in enumerate(settings):
        told = f"{type(errors[number]).__name__}: {errors[number]}" if number in errors else ""
        model = jobs[number].model if number in jobs else None
        results.append(SweepResult(setting, model, trained.get(number, History()), told))
    return start, results


def _require_job(job: Any) -> TrainingJob:
    if not isinstance(job, TrainingJob):
        raise TypeError(f"sweep takes a build that returns a fastbp.TrainingJob, got {type(job).__name__}")
    return job


def _rounds(
    build: Callable[..., TrainingJob], left: Mapping[int, Sequence[Any]], data: Sequence[Any]
) -> Iterator[tuple[int, list[SweepResult]]]:
    """Yield the chunks that come back, in any order; those of workers that were killed do not."""
    joblib, killed = _joblib(), _killed()
    backend, _ = joblib.parallel.get_active_backend()
    if type(backend).__module__.startswith("ray."):  # whose pool sends arguments anew with each task
        build, data = _WithStored(build, sys.modules["ray"].put(tuple(data))), ()
    tasks = [joblib.delayed(train_chunk)(start, build, chunk, *data) for start, chunk in left.items()]
    as_they_come = backend.supports_return_generator or isinstance(backend, joblib.parallel.SequentialBackend)
    # Not in batches: a chunk is large enough, and no other is to be lost with it.
    options = {"batch_size": 1, "max_nbytes": "1M"}
    try:
        if as_they_come:
            yield from joblib.Parallel(return_as="generator_unordered", **options)(tasks)
            return
        some = _CHUNKS_OF_A_WORKER * joblib.effective_n_jobs()  # what these return together is lost together
        with joblib.Parallel(**options) as parallel:
            for first in range(0, len(tasks), some):
                yield from parallel(tasks[first : first + some])
    except killed:
        return


@dataclass(frozen=True)
class _WithStored:
    """Calls ``build`` with data out of Ray's object store, where a machine keeps them once for all of its workers."""

    build: Callable[..., TrainingJob]
    reference: Any

    def __call__(self, setting: Any) -> TrainingJob:
        import ray

        return self.build(setting, *ray.get(self.reference))


def _joblib() -> Any:
    try:
        import joblib
    except ImportError as error:
        raise ImportError('fastbp.sweep needs joblib: pip install "fastbp[sweep]"') from error
    return joblib


def _killed() -> tuple[type[BaseException], ...]:
    """Return the errors by which joblib's backends tell that a worker is gone."""
    from concurrent.futures import CancelledError
    from concurrent.futures.process import BrokenProcessPool

    kinds: list[type[BaseException]] = [BrokenProcessPool, CancelledError]
    distributed, ray = sys.modules.get("distributed"), sys.modules.get("ray")
    if distributed is not None:
        kinds += [distributed.KilledWorker, sys.modules["distributed.client"].FutureCancelledError]
    if ray is not None:
        kinds.append(ray.exceptions.RayActorError)
    return tuple(kinds)

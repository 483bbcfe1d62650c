"""A process for each library and number of threads, and the timing of them in turn.

Apart from each other, so that one library's threads and allocator are not another's. A worker of one thread is bound to
one core, of two to two: no library can take more than the table says.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.contenders import Contender, load, sampled
from bench.workloads import Workload

CALIBRATION_SECONDS = 0.03


class Worker:
    """The library ``name`` in a process of its own, allowed ``threads`` threads.

    With ``source``, a folder that holds ``fastbp`` and ``kernels``, the process takes fastbp from there.
    """

    def __init__(self, name: str, threads: int, source: Path | None = None) -> None:
        self.name, self.threads = name, threads
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, threads), daemon=True)
        with _importing_from(source):
            self._process.start()
        theirs.close()

    def prepare(self, workload: Workload) -> npt.NDArray[np.float64] | None:
        """Set up ``workload``, compile and warm up; return a sample of the weights after the first epoch of a training.

        False if this library does not run such workloads.
        """
        return self._ask("prepare", workload)

    def measure(self, workload: Workload, seconds: float) -> float:
        """Return the seconds of a step, from a run of at least so many seconds (or one epoch, if that is longer)."""
        return self._ask("measure", workload, seconds)

    def first_step(self, workload: Workload) -> float:
        """Return the seconds from a description of a network to its first step done, in a process that is warm."""
        return self._ask("first_step", workload)

    def flop(self, workload: Workload) -> int:
        """Return the ``flop`` of the contender that ``prepare`` has set up for ``workload``."""
        return self._ask("flop", workload)

    def source(self) -> Path:
        """Return the folder that fastbp was imported from."""
        return Path(self._ask("source"))

    def stop(self) -> None:
        self._pipe.close()
        self._process.join()

    def _ask(self, *request: Any) -> Any:
        self._pipe.send(request)
        try:
            answer = self._pipe.recv()
        except EOFError as error:
            raise RuntimeError(f"the worker of {self.name} died over {request}") from error
        if isinstance(answer, _Failure):
            raise RuntimeError(f"{self.name} with {self.threads} threads failed at {request}:\n{answer.text}")
        return answer


class Workers:
    """Workers by name and threads; their imports run side by side."""

    def __init__(self, names: Iterable[str], threads: Iterable[int]) -> None:
        self._running = {(name, count): Worker(name, count) for name in names for count in threads}

    def __getitem__(self, key: tuple[str, int]) -> Worker:
        return self._running[key]

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._running.values():
            worker.stop()


def in_turn(contests: list[tuple[Worker, Workload]], rounds: int, seconds: float) -> list[list[float]]:
    """Measure every contest once in each round; return for each its seconds of a step, a value a round."""
    return [list(times) for times in zip(*(one_round(contests, turn, seconds) for turn in range(rounds)))]


def one_round(contests: list[tuple[Worker, Workload]], turn: int, seconds: float) -> list[float]:
    """Measure every contest once; every other turn goes backwards, so that nobody always follows the same one."""
    times = [0.0] * len(contests)
    order = range(len(contests))
    for place in order if turn % 2 == 0 else reversed(order):
        worker, workload = contests[place]
        times[place] = worker.measure(workload, seconds)
    return times


class _Failure:
    def __init__(self, text: str) -> None:
        self.text = text


class Runs:
    """The workloads that a process has set up for the library ``name``."""

    def __init__(self, name: str, threads: int) -> None:
        self._peer = load(name)
        self._limits = self._peer.set_threads(threads)  # scikit-learn's holds as long as this object
        self._ready: dict[Workload, tuple[Contender, float]] = {}

    def prepare(self, workload: Workload) -> Any:
        contender = self._contender(workload)
        if contender is None:
            return False
        contender.run(1)
        sample = sampled(contender.weights()) if contender.weights else None
        times, took = 1, 0.0
        while took < CALIBRATION_SECONDS:
            start = perf_counter()
            contender.run(times)
            took, times = perf_counter() - start, 2 * times
        self._ready[workload] = contender, took / (times / 2)
        return sample

    def piece(self, workload: Workload, seconds: float) -> tuple[Callable[[], object], int]:
        """Return a function that runs ``workload`` for about so many seconds, and the number of steps that it does."""
        contender, once = self._ready[workload]
        times = max(1, math.ceil(seconds / once))
        return partial(contender.run, times), times * workload.steps

    def measure(self, workload: Workload, seconds: float) -> float:
        run, steps = self.piece(workload, seconds)
        start = perf_counter()
        run()
        took = (perf_counter() - start) / steps
        self._ready[workload] = self._ready[workload][0], took * workload.steps
        return took

    def first_step(self, workload: Workload) -> float:
        start = perf_counter()
        contender = self._contender(workload)
        assert contender
        contender.run(1)
        return perf_counter() - start

    def flop(self, workload: Workload) -> int:
        return self._ready[workload][0].flop

    def source(self) -> str:
        import fastbp

        return str(Path(fastbp.__file__).parents[1])

    def _contender(self, workload: Workload) -> Contender | None:
        prepare = getattr(self._peer, workload.kind, None)
        return prepare(workload) if prepare else None


def bind(threads: int) -> None:
    """Bind this process to so many cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[-threads:])


@contextmanager
def _importing_from(source: Path | None) -> Iterator[None]:
    """Let a process that starts meanwhile find fastbp in ``source``; what it compiles is kept under its own sources."""
    path = list(sys.path)
    if source is not None:
        sys.path[:0] = [str(source), str(source / "kernels")]
    try:
        yield
    finally:
        sys.path[:] = path


def _serve(pipe: Connection, name: str, threads: int) -> None:
    bind(threads)
    runs: Runs | None = None
    failure: Any = None
    try:
        runs = Runs(name, threads)
    except Exception:
        failure = _Failure(traceback.format_exc())
    while True:
        try:
            what, *arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = failure or getattr(runs, what)(*arguments)
        except Exception:
            answer = _Failure(traceback.format_exc())
        pipe.send(answer)

"""How many threads compute, and how they are started.

A kernel that can be shared takes ``(rank, ranks, ...)`` and releases the GIL. A ``Team`` calls it once in each of its
threads, which live as long as the team: for one call, or for a training, whose calls take some 100 milliseconds.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread, local
from types import TracebackType
from typing import Any

from fastbp.runtime.cores import available_cores, initial_threads
from fastbp.runtime.interrupts import Interrupts
from fastbp_kernels.compiler.stack_size import start_with_stack

# Operations between two barriers below which, for each thread, a further one does not pay. Measured on two cores at 115
# GFLOP/s each. On two idle cores a quarter would do, but where another process holds one of them, all wait at each
# barrier for the thread that does not run.
FLOP_PER_THREAD = 2e6
# The same where the thread has to be started for the work.
FLOP_PER_START = 2e7

_limit = initial_threads(os.environ, Path("/"), available_cores())
_own = local()  # the limit of one Python thread


def get_num_threads() -> int:
    """Return the largest number of threads that a training or a prediction uses; see ``set_num_threads``."""
    own: int | None = getattr(_own, "limit", None)
    return _limit if own is None else own


@contextmanager
def threads_limited(threads: int) -> Iterator[None]:
    """Let what this Python thread computes meanwhile use so many threads at the most."""
    before = getattr(_own, "limit", None)
    _own.limit = threads
    try:
        yield
    finally:
        _own.limit = before


def set_num_threads(threads: int) -> None:
    """Set the largest number of threads, 1 or more.

    Small work takes fewer, by itself. The results are the same bits for every number.

    When fastbp is imported, the number is the first of these that is known:

    1. ``FASTBP_NUM_THREADS`` in the environment, as it stands. What is no whole number of 1 or more raises ValueError.
    2. ``OMP_NUM_THREADS`` (the first of a list) or ``NUMBA_NUM_THREADS``, the smaller if both are set, as joblib sets
       them in its workers.
    3. The CPU quota of the process's control groups, as containers and batch systems set it, in whole cores: the
       tightest one, rounded up.
    4. The cores that the process may run on (its affinity), or where the system knows none, those of the machine.

    The second and the third are no more than the fourth; where they make no sense, they are passed over.
    """
    if isinstance(threads, bool) or not isinstance(threads, int):
        raise TypeError(f"set_num_threads takes an int, got {threads!r}")
    if threads < 1:
        raise ValueError(f"set_num_threads takes 1 or more, got {threads}")
    global _limit
    _limit = threads


def thread_limits() -> tuple[int, float, float]:
    """Return what ``ranks_for`` and ``whole_or_shared`` go by."""
    return get_num_threads(), FLOP_PER_THREAD, FLOP_PER_START


def ranks_for(flop: float, pieces: int, *, flop_per_thread: float | None = None) -> int:
    """Return the number of threads that pay for ``flop`` operations that can be cut into ``pieces``."""
    return max(1, min(get_num_threads(), pieces, int(flop / (flop_per_thread or FLOP_PER_THREAD))))


def whole_or_shared(flop: float, whole: Callable[..., Any], share: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``whole``, or for much work what calls ``share(rank, ranks, ...)`` in several threads."""
    if flop < 2 * FLOP_PER_START or get_num_threads() == 1:
        return whole
    return partial(run_ranks, min(get_num_threads(), int(flop / FLOP_PER_START)), share)


class Team:
    """Threads that run kernels side by side; used by one thread, which is rank 0.

    The others start with the first ``run`` and end with ``with team:``. Where the system gives fewer threads than are
    asked for, those that there are do the work, rank 0 alone if need be.

    Parameters
    ----------
    ranks : int
        The caller included.
    """

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self._helpers: list[_Helper] = []

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._helpers:
            with Interrupts() as interrupts, interrupts.held:
                helpers, self._helpers = self._helpers, []
                for helper in helpers:
                    helper.end()

    def run(self, kernel: Callable[..., Any], *arguments: Any) -> None:
        """Call ``kernel(rank, ranks, *arguments)`` in every thread and wait until all are at rest, Ctrl-C held back.

        What a rank's call raises is raised here.
        """
        if self.ranks == 1:
            kernel(0, 1, *arguments)
            return
        with Interrupts() as interrupts, interrupts.held:
            if not self._helpers or not self._helpers[0].is_alive():  # a forked process has none of its parent's
                self._start()
            task = _Task(kernel, 1 + len(self._helpers), arguments, _current_core())
            for helper in self._helpers:
                helper.begin(task)
            kernel(0, task.ranks, *arguments)
            errors = [helper.wait() for helper in self._helpers]
        for error in errors:
            if error is not None:
                raise error

    def _start(self) -> None:
        self._helpers = []
        with suppress(RuntimeError):  # limits of a container, or the interpreter is at its end
            for rank in range(1, self.ranks):
                self._helpers.append(_Helper(rank))


@dataclass(frozen=True)
class _Task:
    kernel: Callable[..., Any]
    ranks: int
    arguments: tuple[Any, ...]
    core: int  # where rank 0 is


class _Helper:
    """One more thread of a team, off the core that rank 0 is on."""

    def __init__(self, rank: int) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread = Thread(target=_serve, args=(rank, self._tasks, self._done), daemon=True)
        start_with_stack(self._thread)

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def begin(self, task: _Task) -> None:
        self._tasks.put(task)

    def wait(self) -> BaseException | None:
        """Return what the call raised, once it is over."""
        return self._done.get()

    def end(self) -> None:
        self._tasks.put(None)
        self._thread.join()

    def __del__(self) -> None:
        self._tasks.put(None)  # of a team that something kept from its end


def _serve(rank: int, tasks: SimpleQueue[_Task | None], done: SimpleQueue[BaseException | None]) -> None:
    cores, kept_off = _own_cores(), -1
    while (task := tasks.get()) is not None:
        error = None
        try:
            if task.core != kept_off:
                kept_off = task.core
                _keep_off(kept_off, cores)
            task.kernel(rank, task.ranks, *task.arguments)
        except BaseException as raised:
            error = raised
        del task  # nothing of a call is kept until the next
        done.put(error)
        del error


def run_ranks(ranks: int, kernel: Callable[..., Any], *arguments: Any) -> None:
    """Call ``kernel(rank, ranks, *arguments)`` in a team for this one call."""
    with Team(ranks) as team:
        team.run(kernel, *arguments)


_sched_getcpu = getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None


def _current_core() -> int:
    """Return the core that this thread is on, or -1 where it is not known."""
    return -1 if _sched_getcpu is None else int(_sched_getcpu())


def _own_cores() -> set[int]:
    """Return the cores that this thread may use, or none where that is not known."""
    with suppress(AttributeError, OSError):  # not on this system; forbidden by a sandbox
        return os.sched_getaffinity(0)
    return set()


def _keep_off(core: int, cores: set[int]) -> None:
    """Keep this thread to those of ``cores`` that are not ``core``, if there are any.

    A scheduler may leave a new thread for milliseconds on the core of the one that started it. There, each of the two
    uses up its turn waiting for the other at a barrier.
    """
    others = cores - {core}
    if others:
        with suppress(OSError):  # forbidden by a sandbox
            os.sched_setaffinity(0, others)

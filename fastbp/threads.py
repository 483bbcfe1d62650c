"""How many threads compute, and how they are started.

A kernel that can be shared takes ``(rank, ranks, ...)`` and releases the GIL. ``run_ranks`` calls it once in each of so
many threads, which live as long as the call: a start costs some 50 microseconds, a call takes up to 50 milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from threading import Event, Thread
from typing import Any

from fastbp.interrupts import Interrupts

# Below so much work for each, a further thread does not pay: between two barriers of a training, and where it has to be
# started for the work. Measured on two cores at 115 GFLOP/s each. On two idle cores a quarter of the first would do,
# but where another process holds one of them, all wait at each barrier for the thread that does not run.
FLOP_PER_THREAD = 2e6
FLOP_PER_START = 2e7


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_limit = _available_cores()


def get_num_threads() -> int:
    """Return the largest number of threads that a training or a prediction uses."""
    return _limit


def set_num_threads(threads: int) -> None:
    """Set the largest number of threads, 1 or more; at first the number of cores that the process may use.

    Small work takes fewer, by itself. The results are the same bits for every number.
    """
    if isinstance(threads, bool) or not isinstance(threads, int):
        raise TypeError(f"set_num_threads takes an int, got {threads!r}")
    if threads < 1:
        raise ValueError(f"set_num_threads takes 1 or more, got {threads}")
    global _limit
    _limit = threads


def ranks_for(flop: float, pieces: int, *, flop_per_thread: float | None = None) -> int:
    """Return the number of threads that pay for ``flop`` operations that can be cut into ``pieces``."""
    return max(1, min(_limit, pieces, int(flop / (flop_per_thread or FLOP_PER_THREAD))))


def whole_or_shared(flop: float, whole: Callable[..., Any], share: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``whole``, or for much work what calls ``share(rank, ranks, ...)`` in several threads."""
    if flop < 2 * FLOP_PER_START or _limit == 1:
        return whole
    return partial(run_ranks, min(_limit, int(flop / FLOP_PER_START)), share)


def run_ranks(ranks: int, kernel: Callable[..., Any], *arguments: Any) -> None:
    """Call ``kernel(rank, ranks, *arguments)`` in ``ranks`` threads, this one being rank 0, and wait for all.

    Ranks wait for each other, so either all of them run or none: where the system gives no more threads, this one does
    the work alone, and Ctrl-C waits until all are at rest.
    """
    if ranks == 1:
        kernel(0, 1, *arguments)
        return
    decided = Event()
    running = False

    def work(rank: int) -> None:
        decided.wait()
        if running:
            kernel(rank, ranks, *arguments)

    helpers = [Thread(target=work, args=(rank,), daemon=True) for rank in range(1, ranks)]
    started: list[Thread] = []
    with Interrupts() as interrupts, interrupts.held:
        try:
            for helper in helpers:
                helper.start()
                started.append(helper)
            running = True
        except RuntimeError:
            pass
        finally:
            decided.set()
        kernel(0, ranks if running else 1, *arguments)
        for helper in started:
            helper.join()

"""How many threads compute, and how they are started.

A kernel that can be shared takes ``(rank, ranks, ...)`` and releases the GIL. ``run_ranks`` calls it once in each of so many
threads, which live as long as the call: starting one costs some 50 microseconds, a compiled call up to 50 milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

FLOP_PER_THREAD = 5e5  # below this much work between two barriers a second thread does not pay for them


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


def ranks_for(flop: float, pieces: int) -> int:
    """Return the number of threads that pay for ``flop`` operations that can be cut into ``pieces``."""
    return max(1, min(_limit, pieces, int(flop / FLOP_PER_THREAD)))


def run_ranks(ranks: int, kernel: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``kernel(rank, ranks, *arguments)`` in ``ranks`` threads, this one being rank 0; return what rank 0 returns."""
    if ranks == 1:
        return kernel(0, 1, *arguments)
    everyone_is_here = Event()
    failed = False

    def help(rank: int) -> None:
        everyone_is_here.wait()
        if not failed:
            kernel(rank, ranks, *arguments)

    helpers = [Thread(target=help, args=(rank,), daemon=True) for rank in range(1, ranks)]
    started = []
    try:
        for helper in helpers:
            helper.start()
            started.append(helper)
    except RuntimeError:  # the system gives no more threads
        failed = True
    everyone_is_here.set()
    try:
        return kernel(0, 1, *arguments) if failed else kernel(0, ranks, *arguments)
    finally:
        for helper in started:
            helper.join()

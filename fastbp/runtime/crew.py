"""Threads that take pieces of work from one queue, each piece done by one of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from threading import Event, Thread

from fastbp.runtime.interrupts import Interrupts, stopped_by
from fastbp.runtime.threads import threads_limited


def share_out(work: Sequence[int], threads: int, do: Callable[[int], None]) -> Iterator[int]:
    """Call ``do(number)`` for each of ``work``, and yield each number in this thread when it is done.

    What is computed in one of the threads uses no other. On Ctrl-C, and wherever else the iterator ends early, no more
    is begun; what has begun gets a KeyboardInterrupt where ``Interrupts`` let one pass, and is waited for. ``do``
    raises nothing else.

    Parameters
    ----------
    work : sequence of int
        In the order in which it is to begin.
    threads : int
        Beside the calling one, which waits; 1 or more where there is work.
    do : callable
    """
    left, done, stop = deque(work), SimpleQueue[int](), Event()
    members = [Thread(target=_work, args=(left, do, done, stop), daemon=True) for _ in range(threads)]
    try:
        for member in members:
            member.start()
        for _ in work:
            yield done.get()
    finally:
        with Interrupts() as interrupts, interrupts.held:
            stop.set()
            for member in members:
                if member.ident is not None:
                    member.join()


def _work(left: deque[int], do: Callable[[int], None], done: SimpleQueue[int], stop: Event) -> None:
    with threads_limited(1), stopped_by(stop):
        while not stop.is_set():
            try:
                number = left.popleft()  # atomic
            except IndexError:
                return
            do(number)
            done.put(number)

"""Threads that take pieces of work from one queue, each piece done by one of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Thread

from fastbp.runtime.interrupts import Interrupts, stopped_by
from fastbp.runtime.threads import threads_limited
from fastbp_kernels.compiler.stack_size import start_with_stack


def share_out(work: Sequence[int], threads: int, do: Callable[[int], None]) -> Generator[int, None, None]:
    """Call ``do(number)`` for each of ``work``, and yield each number in this thread when it is done.

    What is computed in one of the threads uses no other. On Ctrl-C, and wherever else the iterator ends early, no more
    is begun; what has begun gets a KeyboardInterrupt where ``Interrupts`` let one pass, and is waited for. ``do``
    raises nothing else. Where the system gives fewer threads, those that there are do the work, this one if need be.

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
        with suppress(RuntimeError):  # limits of a container, or the interpreter is at its end
            for member in members:
                start_with_stack(member)
        if all(member.ident is None for member in members):
            for number in work:
                do(number)
                yield number
            return
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

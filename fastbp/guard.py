"""Keeps two threads out of one model.

A model's modules remember their last forward and its parameters change in place, so that two threads in it would read
each other's numbers. Whoever enters takes the guard of the parameters' storage and does not wait for it: a second
thread gets an error. ``predict`` takes nothing, so that any number of threads may; it notices a writer instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock, get_ident
from types import TracebackType
from typing import NoReturn


class Guard:
    """The right to use one storage's parameters. Copies and pickles of it are free.

    ``with guard:`` takes the right to change them; ``guard.acquire()`` and ``guard.release()`` the right to use the
    modules only. A thread that has it may take it again.

    Attributes
    ----------
    changes : int
        Odd while somebody has the right to change the parameters, and another number afterwards: who only reads them
        looks before and after, and asks ``check_reading`` if it was odd or is another.
    """

    __slots__ = ("_depth", "_lock", "_writer", "changes", "release")

    def __init__(self) -> None:
        self._lock = RLock()
        self.release = self._lock.release
        self._depth = self._writer = self.changes = 0

    def acquire(self) -> None:
        """Take the guard, or raise RuntimeError if another thread has it."""
        if not self._lock.acquire(False):
            _refuse()

    def __enter__(self) -> None:
        if not self._lock.acquire(False):
            _refuse()
        self._depth += 1
        if self._depth == 1:
            self.changes += 1
            self._writer = get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            self._writer = 0
            self.changes += 1
        self._lock.release()

    def check_reading(self) -> None:
        """Raise RuntimeError unless it is this thread that may change the parameters."""
        if self._writer != get_ident():
            _refuse()

    def __reduce__(self) -> tuple[type[Guard], tuple[()]]:
        return Guard, ()


class Guards:
    """Several guards as one, of parameters that lie in several storages."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        self._guards = guards

    def acquire(self) -> None:
        """Take all guards, or none and raise RuntimeError."""
        for position, guard in enumerate(self._guards):
            try:
                guard.acquire()
            except RuntimeError:
                for taken in self._guards[:position]:
                    taken.release()
                raise

    def release(self) -> None:
        """Give all back."""
        for guard in self._guards:
            guard.release()

    def __enter__(self) -> None:
        self.acquire()
        for guard in self._guards:
            guard.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for guard in self._guards:
            guard.__exit__(kind, error, traceback)
        self.release()


def _refuse() -> NoReturn:
    raise RuntimeError(
        "another thread is using this model: its modules remember one forward and its parameters change in place; "
        "give each thread a model of its own (copy.deepcopy) or let one wait for the other"
    )

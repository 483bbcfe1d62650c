"""Keeps two threads out of one model.

A model's modules remember their last forward and its parameters change in place, so that two threads in it would read
each other's numbers. Whoever enters takes the lock of the parameters' storage and does not wait for it: a second
thread gets an error. ``predict`` takes nothing, so that any number of threads may; it notices a writer instead.

An exception that comes at any line, such as Ctrl-C, may keep a call from giving its lock back. So a lock that is
taken is believed only while the thread that took it is in such a call: see ``holder``.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from threading import Lock, RLock, get_ident
from types import CodeType, FrameType, TracebackType
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


Span: TypeAlias = tuple[int, int]
"""First and last + 1 of parameters that lie one behind the other in a storage."""


class Taken(Protocol):
    """What a lock returns to whoever takes it."""

    def release(self) -> None: ...


_holders: set[CodeType] = set()
_changes = count(1)
_REMEMBERED = 8  # changes that a lock can tell apart
_latest = [0]
_claims = Lock()  # one thread at a time looks whether a lock is held


def latest_change() -> int:
    """Return the number of the latest change to any parameters."""
    return _latest[0]


def holder(function: F) -> F:
    """Declare that ``function`` takes a lock, and keeps it in a local variable ``lock`` while it has it."""
    _holders.add(function.__code__)
    return function


class ModelLock:
    """The right to use one storage's parameters. Copies and pickles of it are free.

    ``with lock:`` takes the right to change them; ``taken = lock.acquire()`` and ``taken.release()`` the right to use
    the modules only. A thread that has it may take it again. All of it happens in functions declared by ``holder``.

    Attributes
    ----------
    changes : int
        A number that no lock has had becomes it whenever the parameters may have changed.
    written : sequence of (start, stop), or None
        May be set within ``with lock:``, to tell that nothing else is written.
    writer : int
        The thread that may change them now, or 0. Who only reads them notes ``changes`` before, and afterwards asks
        ``check_reading`` if there is a writer or ``changes`` is another.
    """

    __slots__ = ("_before", "_depth", "_lock", "_log", "changes", "writer", "written")

    def __init__(self) -> None:
        self._lock = RLock()
        self._depth = self.writer = self._before = 0
        self.written: Sequence[Span] | None = None
        self._log: deque[tuple[int, int, Sequence[Span] | None]] = deque(maxlen=_REMEMBERED)
        self.changes = next(_changes)  # and no change to what there is

    def acquire(self) -> Taken:
        """Take the lock, or raise RuntimeError if another thread has it; ``release()`` of the result gives it back."""
        lock = self._lock
        return lock if lock.acquire(False) else self._claim()

    def left_alone(self, since: int, spans: Sequence[Span]) -> bool:
        """Whether no parameter in ``spans`` has changed since ``changes`` was ``since``, as far as is remembered."""
        now = self.changes
        for before, after, written in reversed(self._log):
            if now == since or after != now or written is None:
                break
            if any(start < other_stop and other < stop for start, stop in spans for other, other_stop in written):
                break
            now = before
        return now == since

    def __enter__(self) -> None:
        if not self._lock.acquire(False):
            self._claim()
        if not self._depth:
            self._before, self.written = self.changes, None
        self._depth += 1
        self.changes = _latest[0] = next(_changes)
        self.writer = get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.changes = _latest[0] = next(_changes)
        self._depth -= 1
        if self._depth <= 0:
            self._log.append((self._before, self.changes, self.written))
            self.writer = 0
        self._lock.release()

    def check_reading(self, changes: Any) -> None:
        """Raise RuntimeError unless what was read since ``changes`` was noted is whole."""
        if self.writer == get_ident():
            return
        if self.writer:
            self._claim().release()
        if self.changes != changes:
            _refuse()

    def _claim(self) -> Taken:
        """Take the lock if the thread that has it has left without giving it back, or raise RuntimeError."""
        with _claims:
            if not self._lock.acquire(False):
                if self._is_held():
                    _refuse()
                self._lock = RLock()
                self._lock.acquire()
            self._depth = self.writer = 0
            return self._lock

    def _is_held(self) -> bool:
        """Whether another thread is in a function that holds this lock."""
        own = get_ident()
        for thread, top in sys._current_frames().items():
            if thread != own and any(self in _locks_of(frame) for frame in _frames_from(top)):
                return True
        return False

    def __reduce__(self) -> tuple[type[ModelLock], tuple[()]]:
        return ModelLock, ()


class ModelLocks:
    """Several locks as one, of parameters that lie in several storages."""

    def __init__(self, locks: Sequence[ModelLock]) -> None:
        self.locks = locks

    @property
    def changes(self) -> tuple[int, ...]:
        """Theirs."""
        return tuple(lock.changes for lock in self.locks)

    @property
    def writer(self) -> int:
        """The first of theirs that there is, or 0."""
        return next((lock.writer for lock in self.locks if lock.writer), 0)

    def check_reading(self, changes: Any) -> None:
        """Raise RuntimeError unless what was read since ``changes`` was noted is whole."""
        for lock, before in zip(self.locks, changes, strict=True):
            lock.check_reading(before)

    def acquire(self) -> Taken:
        """Take all locks, or none and raise RuntimeError."""
        taken = _AllTaken()
        try:
            for lock in self.locks:
                taken.append(lock.acquire())
        except BaseException:
            taken.release()
            raise
        return taken

    def __enter__(self) -> None:
        taken = self.acquire()
        try:
            for lock in self.locks:
                lock.__enter__()
        finally:
            taken.release()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for lock in self.locks:
            lock.__exit__(kind, error, traceback)


class _AllTaken(list[Taken]):
    """ModelLocks that were taken together."""

    def release(self) -> None:
        for taken in self:
            taken.release()


class Unchanged:
    """The last part of what is copied or pickled bit by bit: raises RuntimeError if it has changed meanwhile."""

    def __init__(self, lock: ModelLock | ModelLocks) -> None:
        self._lock, self._changes = lock, lock.changes

    def __reduce__(self) -> tuple[type[bool], tuple[()]]:
        if self._lock.changes != self._changes:
            _refuse()
        return bool, ()


def _frames_from(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _locks_of(frame: FrameType) -> Sequence[ModelLock]:
    """Return the locks that a frame holds or is about to take."""
    if frame.f_code not in _holders:
        return ()
    held = frame.f_locals.get("lock")
    return held.locks if isinstance(held, ModelLocks) else (held,) if isinstance(held, ModelLock) else ()


def _refuse() -> NoReturn:
    raise RuntimeError(
        "another thread is using this model: its modules remember one forward and its parameters change in place; "
        "let one thread wait for the other, or give each a copy (copy.deepcopy) made before they start"
    )

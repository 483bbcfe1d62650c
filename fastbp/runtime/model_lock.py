"""Keeps two threads from working on one model's numbers at the same time.

Parameters and gradients change in place, and modules use their memory again. Whoever enters a module, steps or copies
a model takes the lock of the parameters' storage, and a second thread waits. A training takes long: a second thread
gets an error then. ``predict`` takes nothing, so that any number of threads may; it notices a change and goes again.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import get_ident
from typing import Any, NoReturn, TypeVar

from fastbp.runtime.interrupts import Interrupts

T = TypeVar("T")


class ModelLock(_thread.RLock):  # type: ignore[misc]  # its stub is final, the class is not
    """The right to use one storage's parameters: ``with lock:``, as often as a thread likes. Copies are free.

    It is C that takes it, so that no Ctrl-C comes in between. Nothing is held for long, but for a training's
    ``trainer``.

    Attributes
    ----------
    changes : int
        Counts: odd while parameters are being written to, another number afterwards.
    trainer : int
        The thread that trains these parameters, or 0.
    """

    __slots__ = ("changes", "trainer")

    def __init__(self) -> None:
        self.changes = self.trainer = 0

    @property
    def parts(self) -> Sequence[ModelLock]:
        """The locks of the storages: this one."""
        return (self,)

    def require_free(self) -> None:
        """Raise RuntimeError while another thread trains the parameters; for who holds the lock."""
        if self.trainer and self.trainer != get_ident():
            _refuse()

    def begin_write(self) -> None:
        """Note that parameters are about to be written to; for who holds the lock."""
        if self.trainer:
            self.require_free()
        self.changes |= 1

    def end_write(self) -> None:
        """Note that they were written to."""
        self.changes = (self.changes | 1) + 1

    def was_quiet(self, changes: Any) -> bool:
        """Whether no other thread has written since ``changes`` were these."""
        if self.changes != changes:
            return False
        return self.trainer == get_ident() if self.trainer else not changes & 1

    def __reduce__(self) -> tuple[type[ModelLock], tuple[()]]:
        return ModelLock, ()


class ModelLocks:
    """Several locks as one, of parameters that lie in several storages: taken in one order by all threads."""

    def __init__(self, locks: Sequence[ModelLock]) -> None:
        self.parts = tuple(sorted(locks, key=id))

    @property
    def changes(self) -> tuple[int, ...]:
        """Theirs."""
        return tuple(lock.changes for lock in self.parts)

    @property
    def trainer(self) -> int:
        """The first of theirs that there is, or 0."""
        return next((lock.trainer for lock in self.parts if lock.trainer), 0)

    def require_free(self) -> None:
        """Raise RuntimeError while another thread trains any of the parameters."""
        for lock in self.parts:
            lock.require_free()

    def begin_write(self) -> None:
        """As of ``ModelLock``."""
        self.require_free()
        for lock in self.parts:
            lock.begin_write()

    def end_write(self) -> None:
        """As of ``ModelLock``."""
        for lock in self.parts:
            lock.end_write()

    def was_quiet(self, changes: Any) -> bool:
        """As of ``ModelLock``."""
        return all(lock.was_quiet(before) for lock, before in zip(self.parts, changes, strict=True))

    def __enter__(self) -> None:
        taken: list[ModelLock] = []
        try:
            with Interrupts() as interrupts, interrupts.held:
                for lock in self.parts:
                    lock.__enter__()
                    taken.append(lock)
        except BaseException:
            _release(taken)
            raise

    def __exit__(self, *error: object) -> None:
        with Interrupts() as interrupts, interrupts.held:
            _release(self.parts)


def _release(locks: Sequence[ModelLock]) -> None:
    for lock in locks:
        lock.release()


def read(lock: ModelLock | ModelLocks, compute: Callable[[], T]) -> T:
    """Return what ``compute`` makes of parameters that nobody changes meanwhile, without the lock if that goes well."""
    changes = lock.changes
    result = compute()
    if lock.was_quiet(changes):
        return result
    with lock:
        lock.require_free()
        return compute()


def holding(lock: ModelLock | ModelLocks, call: Callable[..., T], *arguments: Any) -> T:
    """Return what ``call`` returns, made while this thread has the lock and no other trains the parameters.

    It takes several locks without a look at Ctrl-C: each by a ``with`` of its own.
    """
    parts = lock.parts
    if len(parts) == 1:
        with parts[0]:
            if parts[0].trainer:
                parts[0].require_free()
            return call(*arguments)
    return _holding(parts, call, arguments)


def _holding(parts: Sequence[ModelLock], call: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    with parts[0]:
        if parts[0].trainer:
            parts[0].require_free()
        return _holding(parts[1:], call, arguments) if len(parts) > 1 else call(*arguments)


@contextmanager
def writing(lock: ModelLock | ModelLocks) -> Iterator[None]:
    """Take ``lock`` to write to its parameters for a short time."""
    with lock:
        lock.begin_write()
        try:
            yield
        finally:
            lock.end_write()


class training:
    """Be the thread that trains the parameters of ``lock``; ``held`` holds Ctrl-C back. It may be it already."""

    __slots__ = ("_before", "_held", "_lock")

    def __init__(self, lock: ModelLock | ModelLocks, held: AbstractContextManager[Any]) -> None:
        self._lock, self._held = lock, held
        self._before: list[tuple[ModelLock, int]] = []  # the trainers until then

    def __enter__(self) -> None:
        try:
            with self._held:
                for part in self._lock.parts:
                    with part:
                        part.begin_write()
                        self._before.append((part, part.trainer))
                        part.trainer = get_ident()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        with self._held:
            for part, trainer in self._before:
                part.trainer = trainer
                part.end_write()


class Unchanged:
    """The last part of what is copied or pickled bit by bit: raises RuntimeError if it has changed meanwhile."""

    def __init__(self, lock: ModelLock | ModelLocks) -> None:
        self._lock, self._changes = lock, lock.changes

    def __reduce__(self) -> tuple[type[bool], tuple[()]]:
        if self._lock.changes != self._changes:
            _refuse()
        return bool, ()


def _refuse() -> NoReturn:
    raise RuntimeError(
        "another thread is training or changing this model; let one thread wait for the other, or give each a copy "
        "(copy.deepcopy) made before they start"
    )

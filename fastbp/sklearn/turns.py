"""Turns of threads that use one estimator: those that read it go in between the compiled calls of a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, RLock

_PATIENCE = 0.5  # seconds that a training waits for a reader before it asks for the lock itself


class Turns:
    """A lock for one training or one reader at a time; readers that wait come before the training's next call.

    A thread that has it may take it again.
    """

    def __init__(self) -> None:
        self._trainings = RLock()  # one after the other, each as a whole
        self._lock = RLock()
        self._waiting: list[Event] = []

    @contextmanager
    def training(self) -> Iterator[None]:
        """Be the only one to use the estimator, but for ``give_way`` and ``aside``."""
        with self._trainings, self._lock:
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Wait for the end of another thread's compiled call, and keep it from the next one meanwhile."""
        done = Event()
        self._waiting.append(done)
        try:
            with self._lock:
                yield
        finally:
            self._waiting.remove(done)
            done.set()

    def give_way(self) -> None:
        """Let those read who wait by now; later ones wait for the next time, so that a training always goes on."""
        waiting = tuple(self._waiting)
        if waiting:
            with self.aside():
                for done in waiting:
                    done.wait(_PATIENCE)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let others read while this training calls a function of the user's, which may wait for them."""
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()

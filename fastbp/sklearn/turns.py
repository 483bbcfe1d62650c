"""Turns of threads that use one estimator: those that read it go in between the compiled calls of a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, RLock

_PATIENCE = 0.5  # seconds that a training waits for a reader before it asks for the lock itself


class Turns:
    """A lock for one training or one reader at a time; readers that wait come before the training's next call.

    A thread that has it may take it again.

    Attributes
    ----------
    trainings, lock : RLock
        ``with turns.trainings, turns.lock:`` is a training, alone but for ``give_way`` and ``aside``. Trainings come
        one after the other, each as a whole.
    """

    def __init__(self) -> None:
        self.trainings, self.lock = RLock(), RLock()
        self._waiting: list[Event] = []

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Wait for the end of another thread's compiled call, and keep it from the next one meanwhile."""
        done = Event()
        self._waiting.append(done)
        try:
            with self.lock:
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
        self.lock.release()
        try:
            yield
        finally:
            self.lock.acquire()

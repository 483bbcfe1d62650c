"""Holding Ctrl-C back: it comes through where everything is whole, and nowhere else."""

from __future__ import annotations

import _signal  # what is under signal: its own functions turn handlers into enumerations, 5 microseconds each time
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

_SIGINT = int(signal.SIGINT)
_own = threading.local()  # the event that stops one thread


class Interrupts:
    """Lets Ctrl-C pass, but for the blocks ``with interrupts.held:``, at the end of which it comes.

    Only the main thread receives Ctrl-C. In another thread, and where nothing in Python handles it, this does nothing,
    unless that thread is ``stopped_by`` an event: then it takes the event for a Ctrl-C, once.
    """

    def __init__(self) -> None:
        self.held = _Held()

    def __enter__(self) -> Interrupts:
        previous = _signal.getsignal(_SIGINT)
        if threading.get_ident() == threading.main_thread().ident and callable(previous):
            self.held.handler = previous
            _signal.signal(_SIGINT, self.held.receive)
        self.held.stop = getattr(_own, "stop", None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.held.handler is not None:
            with self.held:
                _signal.signal(_SIGINT, self.held.handler)


class _Held:
    """The block during which Ctrl-C waits."""

    handler: signal._HANDLER = None
    stop: threading.Event | None = None
    _holds = False
    _came: tuple[int, FrameType | None] | None = None

    def receive(self, number: int, frame: FrameType | None) -> None:
        if self._holds:
            self._came = number, frame
        elif callable(self.handler):
            self.handler(number, frame)

    def __enter__(self) -> None:
        self._holds = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._holds = False
        if self._came is not None:
            came, self._came = self._came, None
            self.receive(*came)
        if self.stop is not None and kind is None and self.stop.is_set():
            self.stop = None
            raise KeyboardInterrupt


@contextmanager
def stopped_by(event: threading.Event) -> Iterator[None]:
    """Raise KeyboardInterrupt in this thread where ``Interrupts`` let one pass, once ``event`` is set."""
    _own.stop = event
    try:
        yield
    finally:
        _own.stop = None


def stop_thread_by(event: threading.Event) -> None:
    """Do as ``stopped_by`` from now on in this thread, whose end is somebody else's."""
    _own.stop = event

"""Whether operations on tensors are recorded: for each thread and task by itself, as in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any

_recording: ContextVar[bool] = ContextVar("fastbp_recording", default=True)
is_grad_enabled = _recording.get  # the hot path asks it once for each operation


class _RecordingMode:
    """A context manager and decorator that turns recording on or off."""

    recording: bool

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        mode = super().__new__(cls)
        mode._before = []
        return mode if function is None else mode(function)  # a decorator without parentheses

    _before: list[bool]  # one for each ``with`` that was entered: a mode may be entered again within itself

    def __enter__(self) -> None:
        self._before.append(_recording.get())
        _recording.set(self.recording)

    def __exit__(self, *error: object) -> None:
        _recording.set(self._before.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if isgeneratorfunction(function):
            raise TypeError(
                f"{type(self).__name__} decorates functions, got the generator function {function.__name__}; "
                f"write `with fastbp.{type(self).__name__}():` inside of it"
            )

        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            with type(self)():
                return function(*args, **options)

        return call


class no_grad(_RecordingMode):
    """Operations inside are not recorded: ``with fastbp.no_grad():``, or ``@fastbp.no_grad()`` on a function.

    Results are tensors with ``requires_grad`` False. A leaf may be written to: ``weight -= lr * weight.grad``.
    """

    recording = False


class enable_grad(_RecordingMode):
    """Operations inside are recorded, also within ``no_grad``."""

    recording = True

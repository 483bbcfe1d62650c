"""Where a warning or an error comes from: from fastbp, or from the code of who uses it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from types import FrameType

# Takes the warnings of this context instead of Python, for whoever knows more about them or the thread to issue them in.
warnings_to: ContextVar[Callable[[str, type[Warning]], object] | None] = ContextVar("warnings_to", default=None)


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn whoever called the library."""
    take = warnings_to.get()
    if take is not None:
        take(text, category)
    else:
        warnings.warn(text, category, stacklevel=level_of_caller())


def level_of_caller() -> int:
    """Return the ``stacklevel`` at which a warning of the calling function names the line that called the library."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _is_ours(frame):
        frame, level = frame.f_back, level + 1
    return level


def is_raised_here(error: Exception) -> bool:
    """Whether it is a function of fastbp that raised ``error``, and not one of the user's that fastbp called."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and _is_ours(trace.tb_frame)


def _is_ours(frame: FrameType) -> bool:
    name: str = frame.f_globals.get("__name__", "")
    return name.startswith("fastbp.")

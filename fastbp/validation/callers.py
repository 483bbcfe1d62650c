"""Where a warning or an error comes from: from fastbp, or from the code of who uses it."""

from __future__ import annotations

import sys
from types import FrameType


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

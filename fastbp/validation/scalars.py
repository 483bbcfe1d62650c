"""What is asked of the numbers that a user passes, such as a learning rate or a gain."""

from __future__ import annotations

from math import inf, isfinite
from typing import Any

import numpy as np


def is_number(value: Any) -> bool:
    """Whether ``value`` is a Python or NumPy integer or float: no bool, text, array or tensor."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def require_count(value: Any, owner: str, name: str, least: int = 0) -> int:
    """Return ``value`` as an int of ``least`` or more, or raise TypeError or ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{owner} takes {name} as an int, got {value!r}")
    if value < least:
        raise ValueError(f"{owner} takes {name} of {least} or more, got {value}")
    return int(value)


def require_number(value: Any, owner: str, name: str) -> float:
    """Return ``value`` as a float, infinity where it is an int beyond all floats, or raise TypeError."""
    if not is_number(value):
        remedy = "; take the number out with .item()" if hasattr(value, "item") else ""
        raise TypeError(f"{owner} takes {name} as a number, got {value!r}{remedy}")
    try:
        return float(value)
    except OverflowError:  # an int of more than 308 digits
        return inf if value > 0 else -inf


def require_finite(value: Any, owner: str, name: str, least: float = -inf) -> float:
    """Return ``value`` as a finite float of ``least`` or more, or raise TypeError or ValueError."""
    number = require_number(value, owner, name)
    if not (isfinite(number) and number >= least):
        bound = "" if least == -inf else f" of {least:g} or more"
        raise ValueError(f"{owner} takes a finite {name}{bound}, got {value!r}")
    return number

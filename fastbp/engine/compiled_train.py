"""The engine's compiled code for each dtype, which is called without a look at the types of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.runtime.threads import Team
from fastbp_kernels.compiler.decorators import entry_point
from fastbp_kernels.network.arguments import Results
from fastbp_kernels.network.train import train

_NO_SUMS, _NO_HITS = np.empty(0), np.empty(0, np.int64)
_code: dict[np.dtype[Any], Callable[..., None]] = {}


def is_compiled(dtype: np.dtype[Any]) -> bool:
    """Whether this process has the code for ``dtype``."""
    return dtype in _code


def room_for_results(epochs: int, *, validates: bool = True) -> Results:
    """Return room for what the engine finds in so many epochs, with validation or without."""
    losses, nonfinite = np.zeros((epochs, 2)), np.zeros(2, np.int64)
    if not validates:
        return Results(losses, nonfinite, _NO_SUMS, _NO_HITS)
    return Results(losses, nonfinite, np.zeros(epochs), np.zeros(epochs, np.int64))


def run_train(team: Team, dtype: np.dtype[Any], *arguments: Any) -> None:
    """Let ``team`` run ``fastbp_kernels.network.train.train(rank, ranks, *arguments)``, whose arrays are of ``dtype``.

    The first call compiles, or takes the code from the cache.
    """
    code = _code.get(dtype)
    if code is None:
        code = _code[dtype] = entry_point(train, 0, 1, *arguments)
    team.run(code, *arguments)

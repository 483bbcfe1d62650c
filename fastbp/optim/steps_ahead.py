"""The next steps of an optimiser: what does not change from step to step is found once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from sys import maxsize
from typing import Any, NamedTuple

import numpy as np

from fastbp.nn.parameter import FlatView, Parameter
from fastbp.optim.state_vectors import StateVectors
from fastbp.optim.step_counts import StepCounts
from fastbp.validation.arrays import Array
from fastbp_kernels.compiler.decorators import entry_point
from fastbp_kernels.functions.optimizers import step_runs

_MOST = 64  # steps that scalars are computed for at a time
_compiled: dict[np.dtype[Any], Callable[..., None]] = {}  # by the parameters' dtype


class Moved(NamedTuple):
    """Parameters of one dtype that a step moves.

    Attributes
    ----------
    runs : ndarray of int64, shape (runs, 5)
        As the kernel takes them.
    state : ndarray of shape (vectors, numbers)
    memory : object
        Keeps the memory that ``runs`` lie in.
    """

    runs: Array
    state: Array
    memory: object


def moved_parameters(
    flat: FlatView, parameters: Iterable[Parameter], counts: StepCounts, state: StateVectors
) -> list[Moved]:
    """Return where the parameters lie that have rows of scalars; ``parameters`` are those of ``flat``, in its order."""
    rows: dict[np.dtype[Any], list[tuple[int, int, int, int, int]]] = {}
    left = iter(parameters)
    for data, grad in flat.runs:
        spans = counts.spans(_first_of(left, data.size), state.places)
        at_data, at_grad, width = data.ctypes.data, grad.ctypes.data, data.itemsize
        rows.setdefault(data.dtype, []).extend(
            (at_data + start * width, at_grad + start * width, stop - start, row, place)
            for start, stop, row, place in spans.tolist()
        )
    return [Moved(np.array(found, np.int64), state.arrays[dtype], flat.runs) for dtype, found in rows.items() if found]


def _first_of(parameters: Iterator[Parameter], size: int) -> Iterator[Parameter]:
    """Take parameters of ``size`` numbers together."""
    while size > 0:
        parameter = next(parameters)
        size -= parameter.size
        yield parameter


class StepsAhead:
    """The calls of the next steps of some parameters. Copies and pickles of it are empty.

    Parameters
    ----------
    moved : list of Moved
    """

    def __init__(self, moved: Iterable[Moved] = ()) -> None:
        self._moved = list(moved)
        self._calls: list[tuple[Callable[..., None], Array, Array, Array]] = []
        self._code, self._first, self._stop, self._advances = 0, 0, 0, True

    def take(self, code: int, scalars: Array, steps: int, *, are_constant: bool) -> None:
        """Take the optimiser's code and the scalars of what follows ``steps`` steps: of each, if they are constant."""
        self._calls = []
        for runs, state, _ in self._moved:
            numbers = scalars.astype(state.dtype)
            kernel = _compiled.get(state.dtype)
            if kernel is None:
                kernel = _compiled[state.dtype] = entry_point(step_runs, 0, 0, numbers, runs, state)
            self._calls.append((kernel, numbers, runs, state))
        self._code, self._first, self._advances = code, steps, not are_constant
        self._stop = maxsize if are_constant else steps + len(scalars)

    def forget(self) -> None:
        """Have no scalars any more: a setting has changed, or somebody else has asked for scalars."""
        self._first = self._stop = 0

    def has(self, steps: int) -> bool:
        """Whether there are scalars of the step that follows ``steps``."""
        return self._first <= steps < self._stop

    def next_length(self, steps: int) -> int:
        """Return how many scalars to take after ``steps`` steps: twice as many as before, if those were used up."""
        return min(2 * (steps - self._first), _MOST) if 0 < steps == self._stop else 1

    def step(self, steps: int) -> None:
        """Make the step that follows ``steps``."""
        place = (steps - self._first) * self._advances
        for kernel, numbers, runs, state in self._calls:
            kernel(self._code, place, numbers, runs, state)

    def __reduce__(self) -> tuple[type[StepsAhead], tuple[()]]:
        return StepsAhead, ()

"""How many steps each parameter has made, and which parameters share the scalars of a step for it.

One that was frozen or without a gradient for a while, or whose group was added later, counts its own steps, as in
PyTorch. Parameters of one group that have made as many steps share a row of scalars.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastbp.nn.parameter import Parameter
from fastbp.optim.parameter_group import ParameterGroup
from fastbp.validation.arrays import Array


class Progress(NamedTuple):
    """How far a parameter is.

    Attributes
    ----------
    missed : int
        Steps of the optimiser that it has not made.
    mu_product : float
        The only number that an optimiser remembers of a parameter beside its vectors: NAdam's.
    """

    missed: int = 0
    mu_product: float = 1.0


@dataclass(slots=True)
class ScalarRow:
    """A row of scalars, which parameters of one group and with one progress share: what it is computed from.

    Attributes
    ----------
    group : ParameterGroup
    missed : int
    mu_product : float
        As it was when scalars were asked for last.
    mu_products : ndarray or None
        As it is after each of the steps that they were asked for.
    """

    group: ParameterGroup
    missed: int
    mu_product: float
    mu_products: Array | None = None

    def product_after(self, steps: int) -> float:
        """Return the product after so many of these steps."""
        return self.mu_product if self.mu_products is None or not steps else float(self.mu_products[steps - 1])


class StepCounts:
    """Counts the steps of every parameter: its progress.

    Attributes
    ----------
    rows : list of ScalarRow
        As last laid out, at least one.
    """

    def __init__(self) -> None:
        self.rows: list[ScalarRow] = []
        self._progress: dict[Parameter, Progress] = {}
        self._row_of: dict[Parameter, ScalarRow | None] = {}  # None for one that is passed by
        self._steps = 0  # as of the last layout
        self._asked = 0  # steps made when scalars were asked for last

    def lay_out(self, groups: Sequence[ParameterGroup], steps: int, stepped: Iterable[Parameter]) -> None:
        """Find the rows of the parameters that are ``stepped`` from now on, after ``steps`` of the optimiser."""
        self.note(steps)
        moving, first = set(stepped), Progress(steps)
        self.rows, self._row_of = [], {}
        for group in groups:
            own: dict[Progress, ScalarRow] = {}
            for parameter in group["params"]:
                progress = self._progress.setdefault(parameter, first)
                if parameter not in moving:
                    self._row_of[parameter] = None
                    continue
                if progress not in own:
                    own[progress] = ScalarRow(group, *progress)
                    self.rows.append(own[progress])
                self._row_of[parameter] = own[progress]
        if not self.rows:  # none is stepped, and the kernels take one row or more
            self.rows.append(ScalarRow(groups[0], *Progress()))
        self._asked = steps

    def begin(self, steps: int) -> list[ScalarRow]:
        """Return the rows for scalars of what follows ``steps`` of the optimiser."""
        for row in self.rows:
            row.mu_product, row.mu_products = row.product_after(steps - self._asked), None
        self._asked = steps
        return self.rows

    def note(self, steps: int) -> None:
        """Bring every parameter's progress up to date."""
        progress = dict(self._progress)
        for parameter, row in self._row_of.items():
            if row is None:
                before = progress[parameter]
                progress[parameter] = before._replace(missed=before.missed + steps - self._steps)
            else:
                progress[parameter] = Progress(row.missed, row.product_after(steps - self._asked))
        self._progress, self._steps = progress, steps  # both or, where Ctrl-C cuts in, none

    def made(self, parameter: Parameter, steps: int) -> int:
        """Return the number of steps that a parameter has made, after ``steps`` of the optimiser."""
        self.note(steps)
        return steps - self._progress.get(parameter, Progress(steps)).missed

    def mu_product(self, parameter: Parameter) -> float:
        return self._progress.get(parameter, Progress()).mu_product

    def set(self, progress: dict[Parameter, Progress], steps: int) -> None:
        """Take the progress of every parameter, for the next ``lay_out``."""
        self._progress, self._row_of, self._steps = dict(progress), {}, steps

    def restart(self, steps: int) -> None:
        """Let every parameter begin at its first step, after ``steps`` of the optimiser."""
        self.set({parameter: Progress(steps) for parameter in self._progress}, steps)

    def spans(self, parameters: Iterable[Parameter], places: Mapping[Parameter, int]) -> Array:
        """Return the spans of parameters that lie one behind the other, int64 of shape (spans, 4).

        The first and the last + 1 of those that are stepped, their row, and where their part of the state begins, which
        is at ``places`` for each parameter.
        """
        spans: list[list[int]] = []
        number = {id(row): n for n, row in enumerate(self.rows)}
        start = 0
        for parameter in parameters:
            row, stop = self._row_of.get(parameter), start + parameter.kernel_data.size
            if row is not None:
                first, last, before, place = spans[-1] if spans else (0, -1, -1, 0)
                own, own_place = number[id(row)], places[parameter]
                if (last, before, place + last - first) == (start, own, own_place):
                    spans[-1][1] = stop
                else:
                    spans.append([start, stop, own, own_place])
            start = stop
        return np.array(spans, np.int64).reshape(-1, 4)

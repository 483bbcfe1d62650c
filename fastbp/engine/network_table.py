"""The engine's table of a network, which is found once for all networks of one kind.

Two networks are of one kind if their modules have the same classes, sizes and settings, in the same order, and their
parameters lie alike. What differs between them is where their vectors lie: ``Plan`` has that.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from operator import is_
from typing import Any

import numpy as np

from fastbp.engine.table_rows import Row
from fastbp.nn.linear import Linear
from fastbp.nn.module import Module
from fastbp.nn.parameter import Parameter
from fastbp.validation.arrays import ALIGNMENT, Array
from fastbp_kernels.layers import table
from fastbp_kernels.layers.registry import LINEAR, SPARSE_LINEAR
from fastbp_kernels.linalg.product import K_BLOCK

_KINDS = 16  # whose tables are kept, with the memory that waits there
_LAYOUTS = 8  # of one table that are kept
_TRAININGS = 8  # kinds of them for which memory waits, and that were checked


class NetworkTable:
    """The rows of a table, and what follows from them alone.

    Parameters
    ----------
    rows : sequence of Row
    dtype : numpy.dtype
        Of the parameters.
    flattens, takes_rows_only : bool
        As ``Plan`` has them.

    Attributes
    ----------
    scalars : ndarray of shape (layers, SCALARS)
        Beside the table.
    counting : list of (int, int)
        Rows whose integers are those of a module and change with each mini-batch, with the module's place.
    is_linear, may_chain, over_rows, out_features, flop
        As ``Plan`` has them.
    """

    def __init__(self, rows: Sequence[Row], dtype: np.dtype[Any], *, flattens: bool, takes_rows_only: bool) -> None:
        self._rows, self.dtype = rows, dtype
        self.flattens, self.takes_rows_only = flattens, takes_rows_only
        self.scalars = np.zeros((len(rows), table.SCALARS), dtype)
        for row, scalars in zip(rows, self.scalars, strict=True):
            scalars[table.OPERATION_SCALARS :][: len(row.scalars)] = row.scalars
            if row.activation is not None:
                scalars[table.ACTIVATION_SCALARS :][: len(row.activation.scalars)] = row.activation.scalars
                if row.activation.addresses is not None:
                    addresses = row.activation.addresses(dtype)
                    row.columns[table.VALUE_AT], row.columns[table.DERIVATIVE_AT] = addresses
        self.may_chain = False
        self.is_linear = not flattens and all(row.columns[table.OPERATION] == LINEAR for row in rows)
        self.begins_with_linear = not flattens and rows[0].columns[table.OPERATION] == LINEAR
        self.over_rows = any(row.layer.over_rows for row in rows)
        self.counting = [(n, row.place) for n, row in enumerate(rows) if row.layer.counts]
        self.out_features = rows[-1].columns[table.OUT]
        self.flop = sum(row.flop for row in rows)
        self._layouts: dict[tuple[Any, ...], tuple[Array, int]] = {}
        self._description: tuple[tuple[str, ...], str] = (), ""
        self._spare: dict[Hashable, list[Any]] = {}
        self._checked: set[Hashable] = set()

    def description(self, names: Mapping[Parameter, str]) -> str:
        """Return ``Plan.description`` for a network whose parameters have these ``names``."""
        key = tuple(names.values())
        of, text = self._description
        if of != key:
            text = described(names)
            self._description = key, text
        return text

    def note_checked(self, training: Hashable) -> None:
        """Note that a training of this kind was checked, and that the engine takes it."""
        if len(self._checked) >= _TRAININGS:
            self._checked.clear()
        self._checked.add(training)

    def was_checked(self, training: Hashable) -> bool:
        """Whether a training of this kind was checked, as ``note_checked`` was told."""
        return training in self._checked

    def spare_for(self, division: Hashable) -> list[Any]:
        """Return the list in which memory for trainings of such a division waits: ``pop`` and ``append`` are atomic."""
        spare = self._spare.get(division)
        if spare is None:
            if len(self._spare) >= _TRAININGS:
                self._spare.clear()
            spare = self._spare.setdefault(division, [])
        return spare

    def layout(
        self, block_rows: int, in_place: bool, padded: bool, backward: bool, sparse_ranks: int
    ) -> tuple[Array, int]:
        """Return the table with places in scratch memory, and the size of that: see ``Plan.layout``.

        The integers of modules are zeros, for them to be written into a copy.
        """
        key = block_rows, in_place, padded, backward, sparse_ranks
        found = self._layouts.get(key)
        if found is None:
            if len(self._layouts) >= _LAYOUTS:
                self._layouts.clear()
            found = self._layouts[key] = self._layout(*key)
        layers, size = found
        return layers.copy() if self.counting or sparse_ranks else layers, size

    def _layout(
        self, block_rows: int, in_place: bool, padded: bool, backward: bool, sparse_ranks: int
    ) -> tuple[Array, int]:
        layers = np.zeros((len(self._rows), table.COLUMNS), np.int64)
        in_place = in_place and self.is_linear and not sparse_ranks
        in_place = in_place and all(row.columns[table.OUT] <= K_BLOCK for row in self._rows)
        row_size = self._padded if padded else int
        x, x_row = 0, row_size(8 // self.dtype.itemsize if sparse_ranks else self._rows[0].columns[table.IN])
        place = self._whole_lines(block_rows * x_row) if padded else 0
        for row, planned in zip(layers, self._rows, strict=True):
            for column, value in planned.columns.items():
                row[column] = value
            is_last, o = planned is self._rows[-1], planned.columns[table.OUT]
            y, y_row = place, o if is_last else row_size(o)
            area = self._whole_lines(block_rows * y_row)
            z = -1
            if backward and planned.activation is not None and planned.activation.saves_input:
                z, y = place, place + area
                place += area
            place += area if padded or not is_last else 0
            g = y
            if not in_place or is_last:
                g = place
                place += area
            row[[table.X, table.X_ROW, table.Z, table.Y, table.G, table.Y_ROW]] = x, x_row, z, y, g, y_row
            saves = planned.layer.saves
            if saves == "always" or (backward and saves == "for backward"):
                row[[table.SAVED, table.SAVED_ROW]] = place, place + area
                place += area + self._whole_lines(max(block_rows, o))
            x, x_row = y, y_row
        if sparse_ranks:
            size = self._whole_lines(2 * layers[0, table.IN])
            layers[0, [table.OPERATION, table.SAVED, table.SAVED_ROW]] = SPARSE_LINEAR, place, size
            place += sparse_ranks * size if backward else 0
        for row, planned in zip(layers, self._rows, strict=True):
            other, added = layers[planned.other], layers[planned.added_by]
            row[[table.OTHER, table.OTHER_ROW]] = other[[table.Y, table.Y_ROW]]
            row[table.ADDED_G] = added[table.G] if planned.added_by >= 0 else -1
            row[table.ADDED_G_ROW] = added[table.Y_ROW]
        return layers, place

    def _padded(self, features: int) -> int:
        """Return the distance between rows of so many features: whole cache lines.

        A multiple of 1,024 bytes gets one more: the rows of a tile would compete for the same few places of the cache.
        """
        size = self._whole_lines(features)
        return size if size * self.dtype.itemsize % 1024 else self._whole_lines(size + 1)

    def _whole_lines(self, elements: int) -> int:
        """Return the number of elements that fill the cache lines of so many."""
        line = ALIGNMENT // self.dtype.itemsize
        return -(-elements // line) * line


_tables: dict[Hashable, NetworkTable] = {}  # the one found longest ago first


def kept_table(kind: Hashable | None) -> NetworkTable | None:
    """Return the table of a kind that was found before, if it is kept."""
    return None if kind is None else _tables.get(kind)


def keep_table(kind: Hashable | None, found: NetworkTable) -> None:
    """Keep the table of a kind for its next networks."""
    if kind is None:
        return
    while len(_tables) >= _KINDS:
        with suppress(StopIteration, RuntimeError):  # another thread does the same
            _tables.pop(next(iter(_tables)), None)
    _tables[kind] = found


def kind_of(modules: Iterable[Module], parameters: Sequence[Parameter]) -> Hashable | None:
    """Return what the table of ``modules`` is found from, whose ``parameters`` lie one behind the other, in order.

    None is for modules whose rows are to be found from themselves, such as an activation of the user's functions, and
    for those that have other parameters.
    """
    first, last = parameters[0], parameters[-1]
    kind: list[Any] = [first.dtype, last.offset + last.size - first.offset]
    found: list[Parameter] = []
    if not _describe(modules, first.offset, kind, found):
        return None
    return tuple(kind) if len(found) == len(parameters) and all(map(is_, found, parameters)) else None


def _describe(modules: Iterable[Module], start: int, kind: list[Any], found: list[Parameter]) -> bool:
    """Add what the rows of ``modules`` are found from, and their parameters; return False where that is not all."""
    for module in modules:
        cls = type(module)
        weight: Parameter | None
        if type(module) is Linear:
            weight, bias = module.weight, module.bias
            kind.append(cls)
        elif (activation := module._activation) is not None:
            if activation.addresses is not None:
                return False
            kind += cls, activation, repr(activation.scalars)  # which tells 0.0 from -0.0
            continue
        elif module._branch is not None:
            kind.append(cls)
            if not _describe(module._branch, start, kind, found):
                return False
            kind.append(None)  # the end of the branch
            continue
        else:
            operation = module._operation
            if operation is None:
                return False
            weight, bias = operation.weight, operation.bias
            kind += cls, operation._replace(weight=None, bias=None), repr(operation.scalars)
        for parameter in (weight, bias):
            if parameter is None:
                kind.append(None)
            else:
                found.append(parameter)
                kind.append((parameter.offset - start, parameter.shape, parameter.requires_grad))
    return True


def described(names: Mapping[Parameter, str]) -> str:
    """Return names, dtypes and shapes of a model's parameters, which are the same for each instance of its kind."""
    return "; ".join([f"{name} of {_name_of(p.dtype)} {p.shape}" for p, name in names.items()])


@cache
def _name_of(dtype: np.dtype[Any]) -> str:
    return str(dtype)

"""The rows of the engine's table for a network's modules, before they have places in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache

from fastbp.engine.refusals import require_inputs, require_known, require_outputs, require_same_features
from fastbp.nn.linear import Linear
from fastbp.nn.module import Module
from fastbp.nn.operation import FLATTEN, ActivationCall
from fastbp.nn.parameter import Parameter
from fastbp_kernels.functions.activations import IDENTITY
from fastbp_kernels.layers import table
from fastbp_kernels.layers.registry import LAYER_CODES, LAYERS, LINEAR, Layer
from fastbp_kernels.linalg.product import ROOMY_ROWS, ROWS
from fastbp_kernels.linalg.tile import widths


@dataclass
class Row:
    """A layer and the activation behind it.

    Attributes
    ----------
    layer : Layer
        Its row in the registry.
    columns : dict of int to int
        Those that do not depend on places in scratch memory.
    scalars : tuple of float
        The operation's.
    activation : ActivationCall or None
    place : int
        Of the module whose operation it is, among the network's; -1 for none.
    out_features : callable or None
        As ``Operation`` has it.
    other : int
        For Add: the row whose outputs it adds, else -1.
    added_by : int
        The Add that takes this row's inputs too, else -1.
    takes_activation : bool
        Whether an activation behind it may still be computed here.
    """

    layer: Layer
    columns: dict[int, int]
    scalars: tuple[float, ...] = ()
    activation: ActivationCall | None = None
    place: int = -1
    out_features: Callable[[int], int] | None = None
    other: int = -1
    added_by: int = -1
    takes_activation: bool = True

    @property
    def flop(self) -> int:
        """Operations of a row of data's forward pass, or others of the same time."""
        each = self.layer.flop + (0 if self.activation is None else self.activation.flop)
        if self.columns[table.OPERATION] == LINEAR:
            each += 2 * self.columns[table.IN]
        return self.columns[table.OUT] * each


@dataclass
class RowsBuilder:
    """Goes through the modules in order.

    Parameters
    ----------
    start, size : int
        Where the parameters begin in their storage, and their number.
    """

    start: int
    size: int
    rows: list[Row] = field(default_factory=list)
    modules: list[Module] = field(default_factory=list)  # without residual blocks, which are what is in them
    flattens: bool = False
    takes_rows_only: bool = False
    begun: set[int] = field(default_factory=set)  # rows whose outputs a residual block takes

    def add(self, modules: Iterable[Module]) -> None:
        """Add rows for ``modules``, or raise NotPlannable."""
        for module in modules:
            require_known(module)
            if module._branch is None:
                self.modules.append(module)
            if type(module) is Linear:
                row = self._row("Linear", len(self.modules) - 1)
                row.columns |= self._linear(module)
                self.rows.append(row)
            elif module._activation is not None:
                self._add_activation(module._activation)
            elif module._branch is not None:
                self._add_branch(module)
            else:
                self._add_operation(module)

    def _add_activation(self, activation: ActivationCall) -> None:
        if not self.rows or not self.rows[-1].takes_activation:
            self.rows.append(self._row("Copy"))
        self.rows[-1].columns[table.ACTIVATION] = activation.code
        self.rows[-1].activation, self.rows[-1].takes_activation = activation, False

    def _add_operation(self, module: Module) -> None:
        operation = module._operation
        assert operation is not None
        self.takes_rows_only |= operation.takes_rows_only
        if operation.layer is None:
            self.flattens |= operation is FLATTEN
            return
        row = self._row(operation.layer, len(self.modules) - 1)
        row.scalars, row.out_features = operation.scalars, operation.out_features
        row.columns[table.IN] = row.columns[table.OUT] = operation.features or 0
        for column, parameter in ((table.WEIGHT, operation.weight), (table.BIAS, operation.bias)):
            row.columns[column] = -1 if parameter is None else parameter.offset - self.start
        row.columns[table.TRAINED] = _trained(operation.weight, operation.bias)
        self.rows.append(row)

    def _add_branch(self, residual: Module) -> None:
        """Add a residual block: its modules, and an Add of what goes in and what comes out."""
        if not self.rows or len(self.rows) - 1 in self.begun:  # what goes in lies nowhere, or belongs to another block
            self.rows.append(self._row("Copy"))
        before = len(self.rows) - 1
        self.rows[before].takes_activation = False
        self.begun.add(before)
        self.add(residual._branch or ())
        row = self._row("Add")
        row.other = before
        self.rows.append(row)
        self.rows[before + 1].added_by = len(self.rows) - 1

    def finish(self) -> list[Row]:
        """Return the rows with all numbers of features, or raise NotPlannable."""
        first = next(number for number, row in enumerate(self.rows) if row.columns[table.IN])
        features = self.rows[first].columns[table.IN]
        for number, row in enumerate(self.rows):
            columns, module = row.columns, self.modules[row.place] if row.place >= 0 else None
            if not columns[table.IN]:
                columns[table.IN] = columns[table.OUT] = features
                if row.out_features is not None:
                    columns[table.OUT] = row.out_features(features)
                    require_outputs(module, features, columns[table.OUT], is_known=number > first)
            require_inputs(module, columns[table.IN], features)
            features = columns[table.OUT]
            if row.other >= 0:
                require_same_features(self.rows[row.other].columns[table.OUT], features)
        return self.rows

    def _row(self, name: str, place: int = -1) -> Row:
        none = {table.WEIGHT: -1, table.BIAS: -1, table.KIND: 0, table.ACTIVATION: IDENTITY, table.TRAINED: 0}
        code = LAYER_CODES[name]
        columns = {table.OPERATION: code, table.IN: 0, table.OUT: 0, **none}
        return Row(LAYERS[code], columns, place=place, takes_activation=LAYERS[code].takes_activation)

    def _linear(self, linear: Linear) -> dict[int, int]:
        weight = linear.weight
        behind = self.start + self.size - (weight.offset + weight.size)
        return {
            table.IN: linear.in_features,
            table.OUT: linear.out_features,
            table.WEIGHT: weight.offset - self.start,
            table.BIAS: -1 if linear.bias is None else linear.bias.offset - self.start,
            table.KIND: ROOMY_ROWS if behind >= _widest(weight.dtype.itemsize) else ROWS,
            table.TRAINED: _trained(weight, linear.bias),
        }


@cache
def _widest(itemsize: int) -> int:
    return widths(itemsize)[0]


def _trained(weight: Parameter | None, bias: Parameter | None) -> int:
    """Return which of them need a gradient."""
    trained = table.TRAINED_WEIGHT if weight is not None and weight.requires_grad else 0
    return trained + (table.TRAINED_BIAS if bias is not None and bias.requires_grad else 0)


def parameters_of(modules: Iterable[Module]) -> list[Parameter]:
    """Return the parameters of ``modules`` in order."""
    return [parameter for module in modules for parameter in module._parameters_in_order()]

"""From a network to the table that the engine runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from fastbp.engine.refusals import (
    NotPlannable,
    require_all,
    require_different,
    require_linear,
    require_one_vector,
)
from fastbp.engine.sparse_rows import SparseRows
from fastbp.engine.table_rows import RowsBuilder, parameters_of
from fastbp.nn.forward_state import ForwardState
from fastbp.nn.linear import Linear
from fastbp.nn.module import Module
from fastbp.nn.parameter import FlatView, Parameter
from fastbp.runtime.derived import Derived
from fastbp.validation.arrays import ALIGNMENT, Array
from fastbp.validation.user_methods import own_methods, passes_by
from fastbp_kernels.layers import table
from fastbp_kernels.layers.registry import LINEAR, SPARSE_LINEAR
from fastbp_kernels.linalg.product import K_BLOCK


class NoPlan(Derived):
    """Why the engine does not know a network, for as long as that holds.

    Attributes
    ----------
    reason : str
    parameters : dict of Parameter to None
        In order.
    dtypes : set of dtype
        Of the parameters.
    description : str
        Their names, dtypes and shapes.
    forward_state : ForwardState
        Of the modules.
    may_predict : bool
        Whether the library may predict without the whole's ``forward``.
    with_own_methods : set of Module
        Those in the network that have methods of their user's.
    """

    __slots__ = ("description", "dtypes", "forward_state", "may_predict", "parameters", "reason", "with_own_methods")

    takes_rows_only = False

    def __init__(
        self, reason: str, model: Module, modules: Sequence[Module], named: Sequence[tuple[str, Parameter]]
    ) -> None:
        self.reason, self.description = reason, _described(named)
        self.parameters = dict.fromkeys(parameter for _, parameter in named)
        self.dtypes = {parameter.dtype for parameter in self.parameters}
        self.forward_state = ForwardState(modules)
        self.may_predict = _may_predict(model)
        self.with_own_methods = {module for module in modules if own_methods(module)}
        super().__init__([*modules, *(parameter.storage for parameter in self.parameters)])


class Plan(Derived):
    """A network as the engine reads it.

    Parameters
    ----------
    modules : iterable of Module
        In order.
    around : sequence of Module
        Those that hold them.

    Attributes
    ----------
    modules : list of Module
    first : Linear
        The first one, which checks what the network is given.
    out_features : int
    is_linear : bool
        Whether all rows are those of ``Linear`` or of activations behind one.
    may_chain : bool
        Whether all modules are too: none, such as dropout in evaluation, has no row.
    flattens : bool
        Whether a ``Flatten`` makes rows of inputs of any shape.
    takes_rows_only : bool
        Whether inputs (..., i) of other than two dimensions are not rows of i features to all modules.
    over_rows : bool
        Whether a mini-batch must pass as a whole, for its rows depend on each other.
    counting : list of (int, Module)
        Modules whose integers change with each mini-batch, with their rows in the table.
    scalars : ndarray of shape (layers, SCALARS)
        Beside the table.
    parameter, grad : ndarray
        The flat vectors of all parameters.
    flat : FlatView
        The same vectors with all that goes with them.
    lock : ModelLock
        Of the parameters.
    own_methods : list of str
        Methods of its user's that the whole has.
    parameters, dtypes, description, forward_state, may_predict
        As ``NoPlan`` has them.
    takes_gradients : bool
        Whether the library may go back without the whole's ``backward``.
    flop : int
        Operations of one row's forward pass, or others of the same time; training takes about three times as many.

    Raises
    ------
    NotPlannable
    """

    with_own_methods: frozenset[Module] = frozenset()

    def __init__(self, modules: Iterable[Module], around: Sequence[Module] = ()) -> None:
        self.modules = modules = list(modules)
        linears = [module for module in _inside(modules) if type(module) is Linear]
        parameters = parameters_of(modules)
        builder = RowsBuilder(parameters[0].offset if parameters else 0, sum(p.size for p in parameters))
        builder.add(modules)
        require_linear(linears)
        require_different(parameters)
        self.flat = flat = FlatView(parameters, (*modules, *around))
        require_one_vector(flat, parameters)
        self.parameter, self.grad = flat.runs[0]
        self.lock = parameters[0].storage.lock
        self.dtype: np.dtype[Any] = self.parameter.dtype
        self._rows = builder.finish()
        self.scalars = np.zeros((len(self._rows), table.SCALARS), self.dtype)
        for row, scalars in zip(self._rows, self.scalars, strict=True):
            scalars[table.OPERATION_SCALARS :][: len(row.scalars)] = row.scalars
            if row.activation is not None:
                scalars[table.ACTIVATION_SCALARS :][: len(row.activation.scalars)] = row.activation.scalars
                if row.activation.addresses is not None:
                    addresses = row.activation.addresses(self.dtype)
                    row.columns[table.VALUE_AT], row.columns[table.DERIVATIVE_AT] = addresses
        self.flattens = builder.flattens
        self.is_linear = not self.flattens and all(row.columns[table.OPERATION] == LINEAR for row in self._rows)
        self.may_chain = self.is_linear and all(type(m) is Linear or m._activation is not None for m in modules)
        self.over_rows = any(row.layer.over_rows for row in self._rows)
        self.counting = [(n, row.module) for n, row in enumerate(self._rows) if row.module and row.layer.counts]
        self.takes_rows_only = builder.takes_rows_only
        self.first = linears[0]
        self.out_features = self._rows[-1].columns[table.OUT]
        self.flop = sum(row.flop for row in self._rows)
        self.own_methods: list[str] = []
        self.may_predict = self.takes_gradients = True
        self.parameters, self.dtypes, self.description = dict.fromkeys(parameters), {self.dtype}, ""
        self.forward_state = ForwardState(around or modules)
        super().__init__([*modules, *around, parameters[0].storage])

    @property
    def takes_sparse_rows(self) -> bool:
        """Whether the first layer may take the numbers of ``SparseRows``."""
        return not self.flattens and self._rows[0].columns[table.OPERATION] == LINEAR

    def flop_of(self, rows: Any) -> int:
        """Return ``flop`` for rows like these, dense or ``SparseRows``."""
        return self.flop - rows.spared_flop(self.first.out_features) if isinstance(rows, SparseRows) else self.flop

    def layout(
        self, block_rows: int, *, in_place: bool = False, padded: bool = True, backward: bool = True,
        sparse_ranks: int = 0,
    ) -> tuple[Array, int]:  # fmt: skip
        """Return the engine's table of layers for blocks of ``block_rows`` rows, and the size of their scratch memory.

        All areas start at a cache line, and where they are ``padded`` all rows do, but those of the last layer. Without
        padding there is no room for X of the first layer and Y of the last: these are arrays of their own then. There
        is room for Z where it is needed by a backward pass, if ``backward`` is one that follows.

        ``in_place`` lets the gradients of all layers but the last replace the outputs, where the tile allows it: where
        ``K_BLOCK`` steps finish a product. It is for a thread that has the scratch memory to itself.

        ``sparse_ranks`` is the number of threads that share the scratch memory where the first layer, which is a
        ``Linear``, takes the numbers of ``SparseRows``; 0 where it takes dense rows.
        """
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
            if planned.layer.integers and planned.module is not None:
                row[table.INTEGERS :][: len(planned.layer.integers)] = planned.module._integers()
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


def plan_of(model: Module) -> Plan | NoPlan:
    """Return how the engine runs ``model``, or why it does not; found anew only when something in it has changed."""
    plan: Plan | NoPlan | None = model._plan
    if plan is None or not plan.is_current:
        plan = model._plan = _find_plan(model)
    return plan


def _find_plan(model: Module) -> Plan | NoPlan:
    own, modules = own_methods(model), list(model.modules())
    for module in modules:
        module._follow_dtype()
    named = list(model.named_parameters())
    parameters = [parameter for _, parameter in named]
    try:
        plan = Plan(model._parts(), modules)
        require_all(plan.parameters, parameters)
    except NotPlannable as reason:
        return NoPlan(str(reason), model, modules, named)
    plan.own_methods, plan.description = own, _described(named)
    if (model._flat is None or not model._flat.is_current) and parameters == list(plan.parameters):
        model._flat = plan.flat  # found once for both
    plan.may_predict, plan.takes_gradients = _may_predict(model), model._takes("backward_parameters")
    return plan


def _may_predict(model: Module) -> bool:
    """Whether a prediction without ``model.forward`` passes by no method of the user's."""
    return model._takes("predict") and not passes_by(type(model), "predict", ("forward", "__call__"))


def _described(named: Iterable[tuple[str, Parameter]]) -> str:
    """Return names, dtypes and shapes of a model's parameters, which are the same for each instance of its kind."""
    return "; ".join(f"{name} of {_name_of(p.dtype)} {p.shape}" for name, p in named)


@cache
def _name_of(dtype: np.dtype[Any]) -> str:
    return str(dtype)


def _inside(modules: Iterable[Module]) -> Iterator[Module]:
    """Yield the modules, and those of residual blocks in their place."""
    for module in modules:
        if module._branch is None:
            yield module
        else:
            yield from _inside(module._branch)

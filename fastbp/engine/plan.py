"""From a network to the table that the engine runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from operator import is_
from typing import Any

import numpy as np

from fastbp.engine.network_table import NetworkTable, described, keep_table, kept_table, kind_of
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
from fastbp.validation.arrays import Array
from fastbp.validation.user_methods import have_own_methods, own_methods, passes_by
from fastbp_kernels.layers.table import INTEGERS


class NoPlan(Derived):
    """Why the engine does not know a network, for as long as that holds.

    Attributes
    ----------
    reason : str
    inner : sequence of Module
        All inside the whole, each once.
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

    __slots__ = (
        "description", "dtypes", "forward_state", "inner", "may_predict", "parameters", "reason", "with_own_methods",
    )  # fmt: skip

    takes_rows_only = False

    def __init__(
        self, reason: str, model: Module, modules: Sequence[Module], parameters: Mapping[Parameter, str]
    ) -> None:
        self.reason, self.description, self.inner = reason, described(parameters), modules[1:]
        self.parameters = dict.fromkeys(parameters)
        self.dtypes = {parameter.dtype for parameter in self.parameters}
        self.forward_state = ForwardState(modules)
        self.may_predict = _may_predict(model)
        self.with_own_methods = {module for module in modules if own_methods(module)}
        super().__init__([*modules, *(parameter.storage for parameter in self.parameters)])


class Plan:
    """A network as the engine reads it, for as long as it ``is_current``.

    Parameters
    ----------
    modules : iterable of Module
        In order.
    around : sequence of Module
        The whole, then all inside it.
    flat : FlatView or None
        Current, of ``around``: taken where its parameters are those of the modules.
    are_plain : bool
        Whether no module is known to have methods of its user's.

    Attributes
    ----------
    table : NetworkTable
        Shared with other networks of the kind.
    modules : list of Module
    first : Linear
        The first one, which checks what the network is given.
    out_features : int
    is_linear : bool
        Whether all rows are those of ``Linear`` or of activations behind one.
    may_chain : bool
        Whether all modules are too: none, such as dropout in evaluation, has no row.
    takes_sparse_rows : bool
        Whether the first layer may take the numbers of ``SparseRows``.
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
    own_methods : sequence of str
        Methods of its user's that the whole has.
    inner, parameters, dtypes, description, forward_state, may_predict
        As ``NoPlan`` has them.
    flop : int
        Operations of one row's forward pass, or others of the same time; training takes about three times as many.

    Raises
    ------
    NotPlannable
    """

    with_own_methods: frozenset[Module] = frozenset()

    def __init__(
        self, modules: Iterable[Module], around: Sequence[Module] = (), flat: FlatView | None = None, *,
        are_plain: bool = False,
    ) -> None:  # fmt: skip
        self.modules = modules = list(modules)
        self.inner = around[1:]
        kind = kind_of(modules, flat.parameters) if flat is not None and are_plain and len(flat.runs) == 1 else None
        found = kept_table(kind)
        if found is None or flat is None:
            parameters: Sequence[Parameter] = parameters_of(modules)
            if flat is None or not _are_same(flat.parameters, parameters):
                flat = FlatView(parameters, (*modules, *around))
            found = _find_table(modules, parameters, flat)
            keep_table(kind, found)
        else:
            parameters = flat.parameters
        self.flat, self.table = flat, found
        self.parameter, self.grad = flat.runs[0]
        self.lock = parameters[0].storage.lock
        self.dtype: np.dtype[Any] = found.dtype
        self.scalars, self.flattens, self.takes_rows_only = found.scalars, found.flattens, found.takes_rows_only
        self.is_linear, self.over_rows, self.flop = found.is_linear, found.over_rows, found.flop
        self.out_features, self.takes_sparse_rows = found.out_features, found.begins_with_linear
        self.may_chain, inside = found.may_chain, modules if found.is_linear else list(_inside(modules))
        self.counting = [(row, inside[place]) for row, place in found.counting]
        self.first: Linear = next(module for module in inside if type(module) is Linear)
        self.own_methods: Sequence[str] = ()
        self.may_predict = True
        self.parameters, self.dtypes, self.description = dict.fromkeys(parameters), {self.dtype}, ""
        self.forward_state = ForwardState(around or modules)

    @property
    def is_current(self) -> bool:
        """Whether nothing that it was found from has changed since."""
        return self.flat.is_current

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
        layers, size = self.table.layout(block_rows, in_place, padded, backward, sparse_ranks)
        for row, module in self.counting:
            integers = module._integers()
            layers[row, INTEGERS : INTEGERS + len(integers)] = integers
        return layers, size


def plan_of(model: Module) -> Plan | NoPlan:
    """Return how the engine runs ``model``, or why it does not; found anew only when something in it has changed."""
    plan: Plan | NoPlan | None = model._plan
    if plan is None or not plan.is_current:
        plan = vars(model)["_plan"] = _find_plan(model)
    return plan


def _find_plan(model: Module) -> Plan | NoPlan:
    flat = model._current()
    modules, parameters = (model, *flat.inner), flat.names
    are_plain = not have_own_methods(modules)
    try:
        plan = Plan(model._parts(), modules, flat, are_plain=are_plain)
        require_all(plan.parameters, parameters)
    except NotPlannable as reason:
        return NoPlan(str(reason), model, modules, parameters)
    plan.own_methods = () if are_plain else own_methods(model)
    plan.description = plan.table.description(parameters)
    kind: Any = type(model)
    plan.may_predict = _is_predicted(kind) if are_plain else _may_predict(model)
    return plan


def _are_same(one: Sequence[Parameter], other: Sequence[Parameter]) -> bool:
    return len(one) == len(other) and all(map(is_, one, other))


def _find_table(modules: Sequence[Module], parameters: Sequence[Parameter], flat: FlatView) -> NetworkTable:
    """Return the table of ``modules``, or raise NotPlannable."""
    start = parameters[0].offset if parameters else 0
    builder = RowsBuilder(start, sum(parameter.size for parameter in parameters))
    builder.add(modules)
    require_linear([module for module in builder.modules if type(module) is Linear])
    require_different(parameters)
    require_one_vector(flat, parameters)
    found = NetworkTable(
        builder.finish(), parameters[0].dtype, flattens=builder.flattens, takes_rows_only=builder.takes_rows_only
    )
    found.may_chain = found.is_linear and all(type(m) is Linear or m._activation is not None for m in modules)
    return found


def _may_predict(model: Module) -> bool:
    """Whether a prediction without ``model.forward`` passes by no method of the user's."""
    return model._takes("predict") and not passes_by(type(model), "predict", ("forward", "__call__"))


@cache
def _is_predicted(cls: Any) -> bool:
    """Whether the library's prediction serves an object of a class that has no method of the user's."""
    return "predict" not in cls._passed_by and not passes_by(cls, "predict", ("forward", "__call__"))


def _inside(modules: Iterable[Module]) -> Iterator[Module]:
    """Yield the modules, and those of residual blocks in their place."""
    for module in modules:
        if module._branch is None:
            yield module
        else:
            yield from _inside(module._branch)

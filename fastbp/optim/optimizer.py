"""What all optimisers share: groups of parameters, settings in PyTorch's form, and a step by one kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from fastbp.nn.parameter import FlatView, Parameter, in_order_of_memory, note_changes, with_gradient
from fastbp.optim.group_arguments import read_group, read_groups
from fastbp.optim.parameter_group import ParameterGroup, refuse_unsupported
from fastbp.optim.setting import Setting
from fastbp.optim.state_dict import build_state, read_state
from fastbp.optim.state_vectors import StateVectors
from fastbp.optim.step_counts import ScalarRow, StepCounts
from fastbp.optim.steps_ahead import StepsAhead, moved_parameters
from fastbp.runtime.model_lock import ModelLock, ModelLocks, holding
from fastbp.validation.arrays import Array
from fastbp.validation.read_only import tell_read_only
from fastbp_kernels.functions.optimizers import OPTIMIZER_CODES, OPTIMIZERS

Columns = Sequence[Any]
"""The scalars of some steps in the order of the registry's row: each a number, or an array of one for each step."""


class Optimizer:
    """An optimiser over parameters of modules. Subclasses give their settings and the scalars of a step.

    Parameters
    ----------
    params : iterable of Parameter, or of groups
        Parameters of modules, such as ``model.parameters()``, or mappings with "params" and settings of their own:
        ``[{"params": body.parameters()}, {"params": head.parameters(), "lr": 0.1}]``.
    settings : mapping of str to object
        The values of the class's ``settings``; a group's go before.
    options : mapping of str to object
        PyTorch's other options.

    Attributes
    ----------
    defaults : dict
        What a group has that does not say otherwise.
    settings : mapping of str to Setting
        Attributes that may be set between steps, for all groups, and are read from the first.
    neutral_options : mapping of str to object
        PyTorch's other options, at the values that change nothing.
    row : str
        The name of its row in ``fastbp_kernels.functions.optimizers``, where no setting needs another.
    counts_steps : bool
        Whether PyTorch notes the number of steps in the state of each parameter.
    """

    settings: ClassVar[dict[str, Setting]] = {}
    neutral_options: ClassVar[Mapping[str, Any]]
    row: ClassVar[str]
    counts_steps: ClassVar[bool] = True

    lr: Setting

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Setting)}
        cls.settings = {**cls.settings, **own}

    def __init__(self, params: Iterable[Any], settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        refuse_unsupported(type(self), options)
        self._groups: list[ParameterGroup] = []
        self._parameters: tuple[Parameter, ...] = ()
        self._steps = 0
        self._flat = FlatView()
        self._in_order: list[Parameter] = []
        self._counts = StepCounts()
        self._code = -1  # not known
        self._laid_out_for = -2
        self._stepped: tuple[Parameter, ...] | None = None  # those that have a row of scalars
        # What is found once: the next steps of these parameters, and scalars that are the same for all steps.
        self._ahead: StepsAhead | None = None
        self._constant: Array | None = None
        self._spans: tuple[FlatView, Iterable[Parameter], Array] | None = None
        self._state = StateVectors()
        self.defaults = dict(settings)
        for group in read_groups(type(self), params):
            self._append_group(group)

    @property
    def steps(self) -> int:
        """Number of steps made so far."""
        return self._steps

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those of all groups."""
        return self._parameters

    @property
    def param_groups(self) -> tuple[ParameterGroup, ...]:
        """Parameters and options as PyTorch gives them: ``for group in opt.param_groups: group["lr"] *= 0.1``."""
        return tuple(self._groups)

    @property
    def code(self) -> int:
        """The place of the registry's row that serves all groups."""
        if self._code < 0:
            self._code = OPTIMIZER_CODES[self._row([group.values_by_name for group in self._groups])]
        return self._code

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add parameters with settings of their own, such as those of layers that are trained from now on.

        Parameters
        ----------
        param_group : mapping
            "params", and settings that differ from ``defaults``.
        """
        if not isinstance(param_group, Mapping):
            raise TypeError(f"{type(self).__name__}.add_param_group takes a mapping, got {type(param_group).__name__}")
        self._append_group(param_group)

    def _append_group(self, given: Mapping[str, Any]) -> None:
        params, settings, notes = read_group(type(self), given, self.defaults)
        taken = {parameter for group in self._groups for parameter in group["params"]}
        for parameter in params:
            if parameter in taken:
                raise ValueError(
                    f"{type(self).__name__} takes each parameter in one group, got one of shape {parameter.shape} in "
                    "two"
                )
        group = ParameterGroup(self, params, settings)
        self._require_group(group.values_by_name)
        group.take_notes(notes)
        groups = [*self._groups, group]
        parameters = (*self._parameters, *params) if self._groups else params
        self._groups, self._parameters, self._flat = groups, parameters, FlatView()  # laid out anew
        self.settings_changed()

    def settings_changed(self) -> None:
        """Find a step's scalars anew."""
        self._constant, self._code = None, -1
        if self._ahead is not None:
            self._ahead.forget()

    def _require_group(self, settings: Mapping[str, Any]) -> None:
        """Raise ValueError for settings of a group that do not go together."""

    def _row(self, settings: Sequence[Mapping[str, Any]]) -> str:
        """Return the name of the registry's row for groups of these ``settings``."""
        return self.row

    def _columns(self, settings: Mapping[str, Any], numbers: Array, row: ScalarRow) -> Columns:
        """Return the scalars of the steps ``numbers``, counted from 1. Settings may be arrays of one for each step."""
        raise NotImplementedError

    def _is_constant(self) -> bool:
        """Whether the scalars are the same for all steps."""
        return False

    def state_names(self, group: ParameterGroup) -> tuple[str, ...]:
        """Return the names of the vectors that PyTorch has for parameters of ``group``."""
        return OPTIMIZERS[OPTIMIZER_CODES[self._row([group.values_by_name])]].state

    def initial_state(self, group: ParameterGroup) -> dict[str, float]:
        """Return what PyTorch fills vectors with before the first step; nothing where it has none then."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return settings and state in the form of ``torch.optim.Optimizer.state_dict``: "param_groups" and "state"."""
        return build_state(self)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take settings and state from a state dictionary of this class or of PyTorch's.

        Raises
        ------
        TypeError, ValueError
            If it is the state of another optimiser or over other numbers of parameters, if an option in it would change
            the step, or if its settings could not be set. Nothing changes then.
        """
        loaded = read_state(self, state_dict)
        for group, settings, notes in zip(self._groups, loaded.settings, loaded.notes, strict=True):
            for name, value in settings.items():
                group.put(name, value)
            group.take_notes(notes)
        self._steps = loaded.steps
        self._counts.set(loaded.progress, loaded.steps)
        self._state.take(loaded.vectors)
        self._flat = FlatView()
        self.settings_changed()

    def scalars(self, steps: int, scheduled: Sequence[Mapping[str, Any]] | None = None) -> Array:
        """Return what the next ``steps`` steps take, in float64, of shape (steps, rows, scalars).

        (1, rows, scalars) where all steps take the same. ``rows`` are those of the ``spans``.

        Parameters
        ----------
        steps : int
        scheduled : sequence of mapping of str to ndarray, or None
            For each group the settings that differ from step to step.
        """
        self._take_rows(self._current().trained)
        return self._scalars(steps, scheduled)

    def _scalars(self, steps: int, scheduled: Sequence[Mapping[str, Any]] | None = None) -> Array:
        """Return ``scalars`` of those parameters that have rows."""
        if self._constant is not None and scheduled is None:
            return self._constant
        rows = self._counts.begin(self._steps)
        if self._ahead is not None:
            self._ahead.forget()  # what the rows count from is another step
        is_constant = scheduled is None and self._is_constant()
        length = min(steps, 1) if is_constant else steps
        groups = {id(group): n for n, group in enumerate(self._groups)}
        scalars = np.empty((length, len(rows), len(OPTIMIZERS[self.code].scalars)))
        for place, row in enumerate(rows):
            if not length:
                continue
            settings: Mapping[str, Any] = row.group.values_by_name
            if scheduled is not None:
                settings = {**settings, **scheduled[groups[id(row.group)]]}
            made = self._steps - row.missed
            numbers = np.arange(made + 1, made + length + 1, dtype=np.float64)
            columns = self._columns(settings, numbers, row)
            if length == 1:  # numbers and arrays of one
                scalars[0, place] = [value.item() if type(value) is np.ndarray else value for value in columns]
                continue
            for column, values in enumerate(columns):
                scalars[:, place, column] = values
        if is_constant and length:
            self._constant = scalars
        return scalars

    def state(self, dtype: np.dtype[Any]) -> Array:
        """Return what is remembered of the own parameters of this dtype: shape (vectors, numbers)."""
        self._current()
        return self._state.arrays[dtype]

    def spans(self, parameters: Iterable[Parameter]) -> Array:
        """Return which of ``parameters`` take which row of ``scalars`` and which part of the ``state``.

        They are those of a model, which lie one behind the other, and not all need be this optimiser's.
        """
        flat = self._current()
        self._take_rows(flat.trained)
        found = self._spans
        if found is None or found[0] is not flat or found[1] is not parameters:  # found once, for trainings are many
            found = self._spans = flat, parameters, self._counts.spans(parameters, self._state.places)
        return found[2]

    def advance(self, steps: int) -> None:
        """Note steps that were made with ``scalars`` on the ``state``."""
        self._steps += steps

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that is not frozen against its gradient; one whose ``grad`` is None is passed by.

        ``closure``, if given, is called first, to compute the gradients; its value is returned.
        """
        loss = None
        if closure is not None:
            if not callable(closure):
                raise TypeError(
                    f"{type(self).__name__}.step takes closure as a function or None, got {type(closure).__name__}"
                )
            loss = closure()
        flat = self._flat if self._flat.is_current and self._code == self._laid_out_for else self._current()
        self._take_rows(with_gradient(flat.trained))
        ahead = self._ahead
        if ahead is None or not ahead.has(self._steps):
            ahead = self._look_ahead(flat)
        holding(flat.lock, self._step, ahead, flat.lock)
        return loss

    def _step(self, ahead: StepsAhead, lock: ModelLock | ModelLocks) -> None:
        """Move the parameters that have rows."""
        lock.begin_write()
        try:
            note_changes(self._stepped or ())
            ahead.step(self._steps)
            self._steps += 1
        finally:
            lock.end_write()

    def _take_rows(self, stepped: tuple[Parameter, ...]) -> None:
        """Have rows of scalars for the parameters that are stepped next, and for no others."""
        if stepped is self._stepped or stepped == self._stepped:
            return
        self._counts.lay_out(self._groups, self._steps, stepped)
        self._ahead = self._constant = self._spans = None
        self._stepped = stepped  # at the end: whatever cuts in before leaves nothing that counts as laid out

    def _look_ahead(self, flat: FlatView) -> StepsAhead:
        """Return the next steps of the parameters that have rows."""
        ahead = self._ahead
        if ahead is None:
            ahead = self._ahead = StepsAhead(moved_parameters(flat, self._in_order, self._counts, self._state))
        length = ahead.next_length(self._steps)
        ahead.take(self.code, self._scalars(length), self._steps, are_constant=self._constant is not None)
        return ahead

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients of this optimiser's parameters to None, or to zeros as ``Module.zero_grad`` does."""
        self._current().zero_grad(set_to_none)

    def _current(self) -> FlatView:
        if self._flat.is_current and self._code == self._laid_out_for:
            return self._flat
        names = OPTIMIZERS[self.code].state
        if not self._flat.is_current or names != self._state.names:
            flat = FlatView(self.parameters)
            if len(flat.runs) > 1:
                flat = FlatView(in_order_of_memory(self.parameters))
            self._in_order = list(flat.parameters)
            if names and not self._state.names:  # the first step with them is PyTorch's first step
                self._counts.restart(self._steps)
            self._state.lay_out(names, self._in_order)
            self._stepped = None
            self._flat = flat  # at the end: whatever cuts in before leaves nothing that counts as laid out
        self._laid_out_for = self._code
        return self._flat

    def __getstate__(self) -> dict[str, Any]:
        self._counts.note(self._steps)
        return {**vars(self), "_ahead": None, "_flat": FlatView(), "_spans": None, "_stepped": None}

    def __repr__(self) -> str:
        if len(self._groups) == 1:
            return f"{type(self).__name__}({self._groups[0].described()})"
        return f"{type(self).__name__}({', '.join(f'[{group.described()}]' for group in self._groups)})"


tell_read_only(
    Optimizer, "set what the groups hold, group[\"lr\"] = ..., call add_param_group, or build another optimiser"
)

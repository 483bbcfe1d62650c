"""An optimiser's state dictionary in the form of ``torch.optim.Optimizer.state_dict``.

    {"state": {0: {"step": 3.0, "exp_avg": ..., ...}, ...}, "param_groups": [{"lr": 0.1, ..., "params": [0, 1, 2, 3]}]}

"params" are the parameters' numbers in the optimiser's order; "state" has no entry for a parameter that has made no
step, and is empty for an optimiser without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastbp.optim.parameter_group import NOTES, ParameterGroup, refuse_unsupported
from fastbp.optim.step_counts import Progress
from fastbp.validation.arrays import Array
from fastbp_kernels.functions.optimizers import OPTIMIZER_CODES, OPTIMIZERS

if TYPE_CHECKING:
    from fastbp.nn.parameter import Parameter
    from fastbp.optim.optimizer import Optimizer


class Loaded(NamedTuple):
    """What a state dictionary says: settings and notes for each group, and how far the parameters are."""

    settings: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    steps: int
    progress: dict[Parameter, Progress]
    vectors: dict[Parameter, dict[str, Array]]


class _Entry(NamedTuple):
    steps: int
    mu_product: float
    vectors: dict[str, Array]


def build_state(opt: Optimizer) -> dict[str, Any]:
    """Return the state dictionary of ``opt``."""
    opt._current()  # a setting may have asked for other vectors since the last step
    state: dict[int, dict[str, Any]] = {}
    groups, number = [], 0
    for group in opt.param_groups:
        params = group["params"]
        for place, parameter in enumerate(params, number):
            own = _state_of(opt, group, parameter)
            if own:
                state[place] = own
        names = [name for name in group if name not in ("params", *group.notes)]
        entries = {name: group[name] for name in (*names, *group.notes)}
        groups.append({**entries, "params": list(range(number, number + len(params)))})
        number += len(params)
    return {"state": state, "param_groups": groups}


def _state_of(opt: Optimizer, group: ParameterGroup, parameter: Parameter) -> dict[str, Any]:
    names, made = opt.state_names(group), opt._counts.made(parameter, opt.steps)
    initial = opt.initial_state(group)
    if not names or not (made or initial):
        return {}
    if made:
        held = opt._state.of(parameter)
        vectors = {name: held[name] for name in names}
    else:
        vectors = {name: np.full(parameter.shape, value, parameter.dtype) for name, value in initial.items()}
    numbers = {"step": float(made)} if opt.counts_steps else {}
    if has_mu_product(opt):
        numbers["mu_product"] = float(opt._counts.mu_product(parameter))
    return {**numbers, **vectors}


def has_mu_product(opt: Optimizer) -> bool:
    """Whether PyTorch keeps NAdam's product beside the vectors."""
    return opt.row == "NAdam"


def read_state(opt: Optimizer, state_dict: Any) -> Loaded:
    """Return what ``state_dict`` says, checked.

    Raises
    ------
    TypeError
        If it is no mapping.
    ValueError
        If it is not the state of such an optimiser over as many parameters, or holds what would change the step.
    """
    owner = f"{type(opt).__name__}.load_state_dict"
    rule = f"{owner} takes a mapping with 'state' and 'param_groups'"
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"{rule}, got {type(state_dict).__name__}")
    if not {"state", "param_groups"} <= set(state_dict):
        raise ValueError(f"{rule}, got {', '.join(map(repr, state_dict))}")
    given = state_dict["param_groups"]
    if not isinstance(given, list):
        raise ValueError(f"{owner} takes 'param_groups' as a list, got {type(given).__name__}")
    own = opt.param_groups
    if len(given) != len(own):
        have = "one group" if len(own) == 1 else f"{len(own)} groups"
        raise ValueError(f"{owner} takes {have} of parameters, got {len(given)}")
    settings, notes = [], []
    for group, entries in zip(own, given, strict=True):
        settings.append(_settings_of_group(opt, owner, group, entries))
        notes.append({name: entries[name] for name in NOTES & set(entries)})
    entries_of = _read_entries(opt, owner, settings, given, state_dict["state"])
    steps = max((entry.steps for entry in entries_of.values()), default=0)
    progress = {
        parameter: Progress(steps - entries_of[parameter].steps, entries_of[parameter].mu_product)
        if parameter in entries_of
        else Progress(steps)
        for parameter in opt.parameters
    }
    return Loaded(settings, notes, steps, progress, {p: entry.vectors for p, entry in entries_of.items()})


def _settings_of_group(opt: Optimizer, owner: str, own: ParameterGroup, group: Any) -> dict[str, Any]:
    needed = {"params", "lr"}
    if not isinstance(group, Mapping) or not needed <= set(group) or not isinstance(group["params"], list):
        raise ValueError(f"{owner} takes a group with 'lr' and a list 'params', got {group!r}")
    options = {name: value for name, value in group.items() if name not in {"params", *opt.settings} | NOTES}
    unknown = [name for name in options if name not in opt.neutral_options]
    lacking = [name for name in opt.settings if name not in group and name in _ALWAYS_THERE]
    if unknown or lacking:
        article = "an" if opt.row[0] in "AEIOSN" and opt.row != "SGD:" else "a"
        what = f"one with {', '.join(map(str, unknown))}" if unknown else f"one without {', '.join(lacking)}"
        raise ValueError(f"{owner} takes the state of {article} {type(opt).__name__}, got {what}")
    refuse_unsupported(type(opt), options)
    if len(group["params"]) != len(own["params"]):
        raise ValueError(
            f"{owner} takes the state of an optimiser over {len(own['params'])} parameters, "
            f"got one over {len(group['params'])}"
        )
    values = {name: group.get(name, setting.default) for name, setting in opt.settings.items()}
    settings = {name: own.checked(name, value) for name, value in values.items()}
    opt._require_group(settings)
    return settings


_ALWAYS_THERE = frozenset(("betas", "etas", "rho", "alpha", "momentum"))  # whatever PyTorch's version


def _read_entries(
    opt: Optimizer, owner: str, settings: list[dict[str, Any]], groups: list[Any], state: Any
) -> dict[Parameter, _Entry]:
    """Return what is there of each parameter that has made a step; an entry of None is none."""
    if not isinstance(state, Mapping) or not all(isinstance(buffers, Mapping) for buffers in state.values()):
        raise ValueError(f"{owner} takes 'state' as a mapping of mappings, got {state!r}")
    entries = {}
    for own, values, group in zip(opt.param_groups, settings, groups, strict=True):
        names = OPTIMIZERS[OPTIMIZER_CODES[opt._row([values])]].state
        for number, parameter in zip(group["params"], own["params"], strict=True):
            held = {name: value for name, value in state.get(number, {}).items() if value is not None}
            entry = _read_entry(opt, owner, names, number, parameter, held)
            if entry is not None:
                entries[parameter] = entry
    return entries


def _read_entry(
    opt: Optimizer, owner: str, names: tuple[str, ...], number: Any, parameter: Parameter, held: Mapping[str, Any]
) -> _Entry | None:
    numbers = (["step"] if opt.counts_steps and names else []) + (["mu_product"] if has_mu_product(opt) else [])
    taken = {*numbers, *names}
    if set(held) - taken:
        what = "no state of parameters" if not taken else f"{', '.join(sorted(taken))} of each parameter"
        raise ValueError(f"{owner} takes {what}, got {', '.join(sorted(map(str, held)))}")
    if not held:
        return None
    if set(held) != taken:
        raise ValueError(f"{owner} takes {', '.join(sorted(taken))} of each parameter, got not all for {number!r}")
    steps = float(np.asarray(held["step"])) if opt.counts_steps else 1.0
    if not steps.is_integer() or steps < 0:
        raise ValueError(f"{owner} takes a whole number of steps for {number!r}, got {steps}")
    vectors = {name: np.asarray(held[name]) for name in names}
    for name, array in vectors.items():
        if array.shape != parameter.shape or array.dtype.kind != "f":
            raise ValueError(
                f"{owner} takes {name} of shape {parameter.shape} for {number!r}, got {array.dtype} {array.shape}"
            )
    if not steps:
        return None
    return _Entry(int(steps), float(np.asarray(held.get("mu_product", 1.0))), vectors)

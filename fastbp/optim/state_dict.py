"""An optimiser's state dictionary in the form of ``torch.optim.Optimizer.state_dict``.

    {"state": {0: {"step": 3.0, "exp_avg": ..., ...}, ...}, "param_groups": [{"lr": 0.1, ..., "params": [0, 1, 2, 3]}]}

"params" are the parameters' numbers in the optimiser's order; "state" is empty before the first step, and for an
optimiser without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.optim.parameter_group import refuse_unsupported
from fastbp.validation.arrays import Array

if TYPE_CHECKING:
    from fastbp.nn.parameter import Parameter
    from fastbp.optim.optimizer import Optimizer

# What PyTorch adds to a group that was built of named parameters, and what its schedulers keep there: no step reads it.
_REMARKS = frozenset(("param_names", "initial_lr"))

State = dict[Any, dict[str, Array]]


def build_state(opt: Optimizer) -> dict[str, Any]:
    """Return the state dictionary of ``opt``."""
    state = {}
    if opt.steps and opt._state.names:
        state = {n: {"step": float(opt.steps), **opt._state.of(p)} for n, p in enumerate(opt.parameters)}
    settings = {name: getattr(opt, name) for name in opt.settings}
    return {
        "state": state,
        "param_groups": [{**settings, **opt.neutral_options, "params": list(range(len(opt.parameters)))}],
    }


def read_state(opt: Optimizer, state_dict: Any) -> tuple[dict[str, Any], int, dict[Parameter, dict[str, Array]]]:
    """Return settings as they came, the number of steps, and the state of each parameter.

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
    groups = state_dict["param_groups"]
    if not isinstance(groups, list):
        raise ValueError(f"{owner} takes 'param_groups' as a list, got {type(groups).__name__}")
    if len(groups) != 1:
        raise ValueError(f"{owner} takes one group of parameters, got {len(groups)}")
    settings = _settings_of_group(opt, owner, groups[0])
    steps, state = _read_vectors(opt, owner, groups[0]["params"], state_dict["state"])
    return settings, steps, state


def _settings_of_group(opt: Optimizer, owner: str, group: Any) -> dict[str, Any]:
    needed = {"params", *opt.settings}
    if not isinstance(group, Mapping) or not needed <= set(group) or not isinstance(group["params"], list):
        named = " and ".join(map(repr, opt.settings))
        raise ValueError(f"{owner} takes a group with {named} and a list 'params', got {group!r}")
    options = {name: value for name, value in group.items() if name not in needed | _REMARKS}
    unknown = [name for name in options if name not in opt.neutral_options]
    if unknown:
        article = "an" if opt.row[0] in "AEIOS" else "a"
        raise ValueError(f"{owner} takes the state of {article} {opt.row}, got one with {', '.join(map(str, unknown))}")
    refuse_unsupported(type(opt), options)
    if len(group["params"]) != len(opt.parameters):
        raise ValueError(
            f"{owner} takes the state of an optimiser over {len(opt.parameters)} parameters, "
            f"got one over {len(group['params'])}"
        )
    return {name: group[name] for name in opt.settings}


def _read_vectors(
    opt: Optimizer, owner: str, numbers: list[Any], state: Any
) -> tuple[int, dict[Parameter, dict[str, Array]]]:
    """Return the number of steps and each parameter's vectors; an entry of None is none."""
    if not isinstance(state, Mapping) or not all(isinstance(buffers, Mapping) for buffers in state.values()):
        raise ValueError(f"{owner} takes 'state' as a mapping of mappings, got {state!r}")
    taken = {"step", *opt._state.names} if opt._state.names else set()
    held = {name for buffers in state.values() for name, buffer in buffers.items() if buffer is not None}
    if held - taken:
        what = "no state of parameters" if not taken else f"{', '.join(sorted(taken))} of each parameter"
        raise ValueError(f"{owner} takes {what}, got {', '.join(sorted(map(str, held)))}")
    if not held:
        return 0, {}
    lacking = [n for n in numbers if not isinstance(state.get(n), Mapping) or set(state[n]) != taken]
    if lacking:
        raise ValueError(f"{owner} takes {', '.join(sorted(taken))} of each parameter, got not all for {lacking[0]!r}")
    steps = {float(np.asarray(state[n]["step"])) for n in numbers}
    if len(steps) != 1 or not next(iter(steps)).is_integer() or min(steps) < 0:
        raise ValueError(f"{owner} takes one whole number of steps for all parameters, got {sorted(steps)}")
    vectors = {}
    for number, parameter in zip(numbers, opt.parameters, strict=True):
        vectors[parameter] = {name: np.asarray(state[number][name]) for name in opt._state.names}
        for name, array in vectors[parameter].items():
            if array.shape != parameter.shape or array.dtype.kind != "f":
                raise ValueError(
                    f"{owner} takes {name} of shape {parameter.shape} for {number!r}, got {array.dtype} {array.shape}"
                )
    return int(next(iter(steps))), vectors

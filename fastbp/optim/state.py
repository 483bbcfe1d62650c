"""An optimiser's state dictionary in the form of ``torch.optim.Optimizer.state_dict``.

    {"state": {}, "param_groups": [{"lr": 0.1, "momentum": 0, ..., "params": [0, 1, 2, 3]}]}

"params" are the parameters' numbers in the optimiser's order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastbp.optim.parameter_group import NEUTRAL_OPTIONS, refuse_unsupported

_OWNER = "SGD.load_state_dict"

# What PyTorch adds to a group that was built of named parameters, and what its schedulers keep there: no step reads it.
_REMARKS = frozenset(("param_names", "initial_lr"))


def build_state(lr: float, parameters: int) -> dict[str, Any]:
    """Return the state dictionary of an SGD over so many parameters."""
    return {"state": {}, "param_groups": [{"lr": lr, **NEUTRAL_OPTIONS, "params": list(range(parameters))}]}


def read_lr(state_dict: Any, parameters: int) -> Any:
    """Return the learning rate that a state dictionary holds, as it came.

    Raises
    ------
    TypeError
        If it is no mapping.
    ValueError
        If it is not the state of an SGD over so many parameters, or holds what would change the step.
    """
    rule = f"{_OWNER} takes a mapping with 'state' and 'param_groups'"
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"{rule}, got {type(state_dict).__name__}")
    if not {"state", "param_groups"} <= set(state_dict):
        raise ValueError(f"{rule}, got {', '.join(map(repr, state_dict))}")
    groups = state_dict["param_groups"]
    if not isinstance(groups, list):
        raise ValueError(f"{_OWNER} takes 'param_groups' as a list, got {type(groups).__name__}")
    if len(groups) != 1:
        raise ValueError(f"{_OWNER} takes one group of parameters, got {len(groups)}")
    lr = _lr_of_group(groups[0], parameters)
    _refuse_buffers(state_dict["state"])
    return lr


def _lr_of_group(group: Any, parameters: int) -> Any:
    if not isinstance(group, Mapping) or not {"params", "lr"} <= set(group) or not isinstance(group["params"], list):
        raise ValueError(f"{_OWNER} takes a group with 'lr' and a list 'params', got {group!r}")
    options = {name: value for name, value in group.items() if name not in {"params", "lr", *_REMARKS}}
    unknown = [name for name in options if name not in NEUTRAL_OPTIONS]
    if unknown:
        raise ValueError(f"{_OWNER} takes the state of an SGD, got one with {', '.join(map(str, unknown))}")
    refuse_unsupported(options)
    if len(group["params"]) != parameters:
        raise ValueError(
            f"{_OWNER} takes the state of an optimiser over {parameters} parameters, "
            f"got one over {len(group['params'])}"
        )
    return group["lr"]


def _refuse_buffers(state: Any) -> None:
    """Raise ValueError if there is a state of a parameter, such as momentum; an entry of None is none."""
    if not isinstance(state, Mapping) or not all(isinstance(buffers, Mapping) for buffers in state.values()):
        raise ValueError(f"{_OWNER} takes 'state' as a mapping of mappings, got {state!r}")
    held = {name for buffers in state.values() for name, buffer in buffers.items() if buffer is not None}
    if held:
        raise ValueError(f"{_OWNER} takes no state of parameters, got {', '.join(sorted(map(str, held)))}")

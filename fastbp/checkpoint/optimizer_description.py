"""An optimiser in words that JSON can hold beside the vectors of its state, and the optimiser built from them again.

{"type": "Adam", "defaults": {"lr": "0x1.0p-3", ...},
 "groups": [{"lr": "0x1.0p-3", ..., "parameters": ["0.weight", "0.bias"]}],
 "steps": 3, "progress": {"0.weight": {"step": 3}, ...}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastbp import optim
from fastbp.checkpoint.file_format import CheckpointError, require_field
from fastbp.nn.module import Module
from fastbp.optim.optimizer import Optimizer
from fastbp.validation.arrays import Array
from fastbp_kernels.functions.optimizers import OPTIMIZERS

_NUMBERS = ("step", "mu_product")  # of a parameter's state, beside the vectors

KINDS: dict[str, type[Optimizer]] = {
    name: getattr(optim, name) for name in dict.fromkeys(row.name.partition(":")[0] for row in OPTIMIZERS)
}


def describe_optimizer(opt: Optimizer, model: Module) -> dict[str, Any]:
    """Return what ``build_optimizer`` needs beside the state's vectors.

    Raises
    ------
    TypeError, ValueError
        If it is one of another class, or over other parameters than the model's.
    """
    if type(opt) not in KINDS.values():
        raise TypeError(f"save knows {', '.join(KINDS)}, got {type(opt).__name__}; keep its settings yourself")
    names = {parameter: name for name, parameter in model.named_parameters()}
    if not set(opt.parameters) <= set(names):
        raise ValueError("save takes an optimiser over the model's parameters; build it from model.parameters()")
    groups = []
    for group in opt.param_groups:
        notes = {name: value for name, value in group.notes.items() if name != "param_names"}
        settings = {name: _to_json(value) for name, value in {**group.values_by_name, **notes}.items()}
        groups.append({**settings, "parameters": [names[parameter] for parameter in group["params"]]})
    progress = {
        names[opt.parameters[number]]: {name: _to_json(own[name]) for name in _NUMBERS if name in own}
        for number, own in opt.state_dict()["state"].items()
    }
    defaults = {name: _to_json(value) for name, value in opt.defaults.items()}  # of groups that are added later
    kind = type(opt).__name__
    return {"type": kind, "defaults": defaults, "groups": groups, "steps": opt.steps, "progress": progress}


def optimizer_tensors(opt: Optimizer, model: Module) -> dict[str, Array]:
    """Return what the optimiser remembers of each parameter, by the names in the file."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"optimiser.{vector}.{names[opt.parameters[number]]}": array
        for number, own in opt.state_dict()["state"].items()
        for vector, array in own.items()
        if vector not in _NUMBERS
    }


def build_optimizer(content: Any, model: Module, tensors: Mapping[str, Array]) -> Optimizer:
    """Return the optimiser that was saved, over parameters of ``model``."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    kind = KINDS[require_field(content, "type", str)]
    described = require_field(content, "groups", list) if "groups" in content else [_only_group(content, kind)]
    groups, names = [], []
    for group in described:
        own = require_field(group, "parameters", list)
        unknown = [name for name in own if name not in parameters]
        if unknown:
            raise CheckpointError(f"the file's optimiser is one of {unknown[0]!r}, which the model does not have")
        entries = {name: _from_json(value) for name, value in group.items() if name != "parameters"}
        groups.append({**entries, "params": [parameters[name] for name in own]})
        names.extend(own)
    opt: Optimizer = kind(groups)  # type: ignore[call-arg]  # a class of KINDS
    opt.defaults |= {name: _from_json(value) for name, value in content.get("defaults", {}).items()}
    progress = require_field(content, "progress", dict) if "groups" in content else _same_for_all(content, opt, names)
    state = {n: _state_of(name, progress[name], tensors) for n, name in enumerate(names) if name in progress}
    if state:
        opt.load_state_dict(opt.state_dict() | {"state": state})
    return opt


def _only_group(content: Any, kind: type[Optimizer]) -> dict[str, Any]:
    """Return the group of a file of before, which has no others."""
    settings = {name: content[name] for name in kind.settings if name in content}
    return {**settings, "parameters": require_field(content, "parameters", list)}


def _same_for_all(content: Any, opt: Optimizer, names: list[str]) -> dict[str, Any]:
    """Return the progress of a file of before, where all parameters have made as many steps."""
    steps = content.get("steps", 0)
    return {name: {"step": steps} for name in names} if steps and OPTIMIZERS[opt.code].state else {}


def _state_of(name: str, progress: Any, tensors: Mapping[str, Array]) -> dict[str, Any]:
    numbers = {key: _from_json(progress[key]) for key in _NUMBERS if key in progress}
    vectors = {}
    for place, array in tensors.items():
        _, vector, parameter = [*place.split(".", 2), "", ""][:3]
        if place.startswith("optimiser.") and parameter == name:
            vectors[vector] = array
    return {**numbers, **vectors}


def _to_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_json(number) for number in value]
    return value.hex() if isinstance(value, float) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_from_json(number) for number in value)
    return float.fromhex(value) if isinstance(value, str) else value

"""A scheduler's state in words that JSON can hold: floats to the last bit, and keys of any kind.

{"type": "MultiStepLR", "state": {"dict": [["last_epoch", 3], ["gamma", {"float": "0x1.999999999999ap-4"}], ...]}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastbp.checkpoint.file_format import CheckpointError, require_field
from fastbp.optim.lr_scheduler import LRScheduler
from fastbp.optim.optimizer import Optimizer


def describe_scheduler(scheduler: LRScheduler, opt: Optimizer | None) -> dict[str, Any]:
    """Return the type of a scheduler of ``opt``, and its state."""
    if not isinstance(scheduler, LRScheduler):
        raise TypeError(f"save takes scheduler as one of fastbp.optim.lr_scheduler, got {type(scheduler).__name__}")
    if opt is None or scheduler.optimizer is not opt:
        raise ValueError("save takes a scheduler together with the optimiser whose learning rate it sets; pass opt=")
    return {"type": type(scheduler).__name__, "state": _to_json(scheduler.state_dict())}


def read_scheduler(content: Mapping[str, Any], scheduler: LRScheduler, opt: Optimizer | None) -> dict[str, Any]:
    """Return the state in a file's ``content`` for ``scheduler``, one of ``opt``."""
    if not isinstance(scheduler, LRScheduler):
        raise TypeError(f"load takes scheduler as one of fastbp.optim.lr_scheduler, got {type(scheduler).__name__}")
    if opt is None or scheduler.optimizer is not opt:
        raise ValueError(
            "load takes a scheduler together with its optimiser, which holds a part of the state; pass opt="
        )
    if "scheduler" not in content:
        raise CheckpointError(f"the file holds no scheduler for {type(scheduler).__name__}")
    described = content["scheduler"]
    if require_field(described, "type", str) != type(scheduler).__name__:
        raise CheckpointError(f"the file holds a {described['type']}, got {type(scheduler).__name__} to fill")
    state = _from_json(require_field(described, "state", dict))
    lacking = set(scheduler.state_dict()) - set(state)
    if lacking:
        raise CheckpointError(f"the file's scheduler has no {', '.join(sorted(lacking))}")
    return dict(state)


def _to_json(value: Any) -> Any:
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, Mapping):
        return {"dict": [[_to_json(key), _to_json(entry)] for key, entry in value.items()]}
    if isinstance(value, list | tuple):
        return [_to_json(entry) for entry in value]
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"save takes schedulers of numbers, got {type(value).__name__} in one; keep its state yourself")


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(entry) for entry in value]
    if isinstance(value, dict):
        if "float" in value:
            return float.fromhex(value["float"])
        return {_from_json(key): _from_json(entry) for key, entry in value["dict"]}
    return value

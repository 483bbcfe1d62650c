"""What changes a training and is no number of the model: modes, frozen parameters, and what dropouts drop next.

{"modes": {"": true, "0": true, "1": false}, "frozen": ["0.weight"], "dropouts": {"1": {"seed": 3, "forwards": 9}}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fastbp.checkpoint.file_format import CheckpointError, require_field
from fastbp.nn.dropout import Dropout
from fastbp.nn.module import Module
from fastbp.nn.parameter import Parameter


class TrainingState(NamedTuple):
    """What a file tells of modules and parameters of a model, which ``give`` gives them.

    Attributes
    ----------
    modes : list of (Module, bool)
        ``training`` of each.
    flags : list of (Parameter, bool)
        ``requires_grad`` of each.
    dropouts : list of (Dropout, int, int)
        Seed and number of forwards of each.
    """

    modes: list[tuple[Module, bool]]
    flags: list[tuple[Parameter, bool]]
    dropouts: list[tuple[Dropout, int, int]]

    def give(self) -> None:
        for module, mode in self.modes:
            module.training = mode
        for parameter, requires_grad in self.flags:
            parameter.requires_grad = requires_grad
        for dropout, seed, forwards in self.dropouts:
            dropout.seed, dropout.forwards = seed, forwards


def describe_training_state(model: Module) -> dict[str, Any]:
    """Return the state in words that JSON can hold."""
    return {
        "modes": {name: bool(module.training) for name, module in model.named_modules()},
        "frozen": [name for name, parameter in model.named_parameters() if not parameter.requires_grad],
        "dropouts": {name: {"seed": module.seed, "forwards": module.forwards} for name, module in _dropouts(model)},
    }


def match_training_state(model: Module, content: Mapping[str, Any]) -> TrainingState:
    """Return what a file tells of ``model``.

    Modules of other names keep their own: whoever fills a model may have put dropouts into it. So do all where a file
    of before tells nothing.

    Raises
    ------
    CheckpointError
    """
    modes = require_field(content, "modes", dict) if "modes" in content else {}
    told = require_field(content, "dropouts", dict) if "dropouts" in content else {}
    dropouts = []
    for name, module in _dropouts(model):
        if name in told:
            if not isinstance(told[name], dict):
                raise CheckpointError(f"dropouts must hold seed and forwards of {name!r}, got {told[name]!r}")
            seed, forwards = (require_field(told[name], field, int) for field in ("seed", "forwards"))
            dropouts.append((module, seed, forwards))
    modules = [(module, require_field(modes, name, bool)) for name, module in model.named_modules() if name in modes]
    return TrainingState(modules, _flags(model, content), dropouts)


def _flags(model: Module, content: Mapping[str, Any]) -> list[tuple[Parameter, bool]]:
    """Return each parameter with its ``requires_grad``; one of several names is frozen if it is so under one."""
    if "frozen" not in content:
        return []
    frozen, flags = require_field(content, "frozen", list), dict[Parameter, bool]()
    names = dict(model.named_parameters(remove_duplicate=False))
    for name in frozen:
        if not isinstance(name, str) or name not in names:
            raise CheckpointError(f"the file freezes {name!r}, which is none of the model's parameters")
    for name, parameter in names.items():
        flags[parameter] = flags.get(parameter, True) and name not in frozen
    return list(flags.items())


def _dropouts(model: Module) -> Iterator[tuple[str, Dropout]]:
    for name, module in model.named_modules():
        if isinstance(module, Dropout):
            yield name, module

"""What the next mini-batch of a training drops: the seeds of its dropouts and how often each has dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastbp.checkpoint.file_format import CheckpointError, require_field
from fastbp.nn.dropout import Dropout
from fastbp.nn.module import Module


def describe_dropouts(model: Module) -> dict[str, dict[str, int]]:
    """Return seed and count of every dropout in ``model``, by its name."""
    return {name: {"seed": module.seed, "forwards": module.forwards} for name, module in _dropouts(model)}


def match_dropouts(model: Module, content: Mapping[str, Any]) -> list[tuple[Dropout, int, int]]:
    """Return the dropouts of ``model`` that a file tells of, each with its seed and its count.

    Those of other names keep their own: whoever fills a model may have put dropouts into it.

    Raises
    ------
    CheckpointError
    """
    told = require_field(content, "dropouts", dict) if "dropouts" in content else {}  # files of before have none
    found = []
    for name, module in _dropouts(model):
        if name in told:
            if not isinstance(told[name], dict):
                raise CheckpointError(f"dropouts must hold seed and forwards of {name!r}, got {told[name]!r}")
            seed, forwards = (require_field(told[name], field, int) for field in ("seed", "forwards"))
            found.append((module, seed, forwards))
    return found


def _dropouts(model: Module) -> Iterator[tuple[str, Dropout]]:
    for name, module in model.named_modules():
        if isinstance(module, Dropout):
            yield name, module

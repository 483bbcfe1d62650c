"""Many models in one file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fastbp.checkpoint.atomic_write import write_atomically
from fastbp.checkpoint.file_format import CheckpointError, import_safetensors, pack, require_field, unpack
from fastbp.checkpoint.save_load import build_model, describe_model
from fastbp.checkpoint.ties import match_ties, require_ties
from fastbp.checkpoint.training_state import match_training_state
from fastbp.nn.module import Module
from fastbp.validation.arrays import Array
from fastbp.version import __version__


def save_models(path: str | os.PathLike[str], models: Sequence[Module]) -> None:
    """Write models to ``path``, whole or not at all, in the format of safetensors; see ``fastbp.save``.

    Raises
    ------
    TypeError
        For models with modules or methods of the user's, which no file could build again.
    OSError
        Where the file cannot be written; what was there is left.
    """
    import_safetensors("save")
    tensors: dict[str, Array] = {}
    described = []
    for number, model in enumerate(models):
        state = model.state_dict()
        description = describe_model(model, state)
        if description["network"] is None:
            raise TypeError(
                f"one file of many models takes networks of the library's modules, got a {type(model).__name__} with "
                f"modules or methods of its user's as model {number}; save each by fastbp.save"
            )
        described.append(description)
        tensors |= {f"{number}.{name}": value for name, value in state.items()}
    write_atomically(Path(path), pack(tensors, {"fastbp": __version__, "models": described}))


def load_models(path: str | os.PathLike[str]) -> list[Module]:
    """Read what ``save_models`` wrote.

    Raises
    ------
    CheckpointError
        If the file is not a whole one of many models.
    OSError
        Where it cannot be read.
    """
    tensors, content = unpack(Path(path))
    if content is None or not content.get("models"):
        raise CheckpointError(f"{path} holds no models of an Ensemble; fastbp.load reads one of a single model")
    states: dict[str, dict[str, Array]] = {}
    for name, value in tensors.items():
        place, _, rest = name.partition(".")
        states.setdefault(place, {})[rest] = value
    models = []
    try:
        for number, description in enumerate(require_field(content, "models", list)):
            state = states.get(str(number), {})
            ties = require_ties(description["tied"], state)
            model = build_model(description, state, ties)
            state = match_ties(model, state, ties)
            training_state = match_training_state(model, description)
            model.load_state_dict(state)
            training_state.give()
            models.append(model)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{path} does not fit: {error}") from error
    return models

"""Saving a training and going on with it later, in another process or on another machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from fastbp.checkpoint.atomic_write import write_atomically
from fastbp.checkpoint.description import build, describe, shapes, shapes_of
from fastbp.checkpoint.file_format import CheckpointError, import_safetensors, pack, require_field, unpack
from fastbp.checkpoint.optimizer_description import build_optimizer, describe_optimizer, optimizer_tensors
from fastbp.checkpoint.ties import Ties, find_ties, match_ties, require_ties
from fastbp.nn.module import Module
from fastbp.optim.optimizer import Optimizer
from fastbp.training.history import Backend, History, Position, Setting
from fastbp.training.shuffle import state_from_json, state_to_json
from fastbp.validation.arrays import Array
from fastbp.version import __version__

_SERIES = ("train_loss", "val_loss", "val_accuracy")
_MEANS = {"train_loss_mean": "train_loss", "val_loss_mean": "val_loss"}  # and the series that each belongs to


class Checkpoint(NamedTuple):
    """What ``fastbp.load`` returns; ``opt`` and ``history`` are None where they were not saved."""

    model: Module
    opt: Optimizer | None
    history: History | None


def save(
    path: str | os.PathLike[str], model: Module, opt: Optimizer | None = None, history: History | None = None
) -> None:
    """Write model, optimiser and history to ``path``, whole or not at all.

    The file replaces what was there when all of it is on the disk: a process that is killed, a full disk or a power cut
    leave the one before. It is in the format of safetensors. Needs ``pip install "fastbp[checkpoint]"``.

    Parameters
    ----------
    path : str or path
    model : Module
        The network of a ``Sequential`` of the library's modules is written too; of a model with modules or methods of
        your own only the parameters, so that ``load`` needs a model to fill. Layers that share a parameter are noted.
    opt : Optimizer or None
        Over parameters of ``model``.
    history : History or None
        With it a training goes on where it stopped, with the same bits: see ``train_model``.

    Raises
    ------
    TypeError, ValueError
        For what cannot be saved.
    OSError
        Where the file cannot be written; what was there is left.
    """
    import_safetensors("save")
    if not isinstance(model, Module):
        raise TypeError(f"save takes a Module, got {type(model).__name__}")
    if history is not None and not isinstance(history, History):
        raise TypeError(f"save takes history as a fastbp.History, got {type(history).__name__}")
    state = model.state_dict()
    tensors = {f"model.{name}": value for name, value in state.items()}
    content: dict[str, Any] = {"fastbp": __version__, "type": type(model).__name__}
    content |= {"network": describe(model, state), "tied": find_ties(model)}
    content["frozen"] = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    if opt is not None:
        content["optimiser"] = describe_optimizer(opt, model)
        tensors |= optimizer_tensors(opt, model)
    if history is not None:
        content["history"] = _describe_history(history)
        tensors |= {f"history.{name}": values for name, values in history.as_arrays().items()}
    write_atomically(Path(path), pack(tensors, content))


def load(path: str | os.PathLike[str], model: Module | None = None, opt: Optimizer | None = None) -> Checkpoint:
    """Read what ``save`` wrote, or the parameters in a safetensors file of another program.

    Parameters
    ----------
    path : str or path
        Of another program are ``safetensors.torch.save_file(module.state_dict(), path)`` and ``save_model`` of the same
        module: such a file fills ``model``, which it needs.
    model : Module or None
        Filled by the rules of ``load_state_dict`` and returned; None builds the network that was saved, and ties its
        layers as they were. Where the file notes which layers share a parameter, the same must in ``model``.
    opt : Optimizer or None
        Given the saved settings and state and returned; None builds one over the model's parameters.

    Raises
    ------
    CheckpointError
        If the file is not a whole checkpoint, or does not fit ``model`` or ``opt``. Nothing has changed then.
    TypeError
        If ``model`` is no Module.
    OSError
        Where it cannot be read.
    """
    if model is not None and not isinstance(model, Module):
        raise TypeError(f"load takes model as a Module of fastbp, got {type(model).__name__}")
    tensors, content = unpack(Path(path))
    if content is None:  # another program's: nothing but parameters
        tensors, content = {f"model.{name}": value for name, value in tensors.items()}, {}
    state = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    try:
        history = _build_history(content["history"], tensors) if "history" in content else None
        ties = require_ties(content["tied"], state) if "tied" in content else None
        filled = _build_model(content, state, ties or []) if model is None else model
        state = match_ties(filled, state, ties)
        loaded = build_optimizer(content["optimiser"], filled, tensors) if "optimiser" in content else None
        if opt is not None and (loaded is None or type(opt) is not type(loaded) or opt.parameters != loaded.parameters):
            raise CheckpointError(f"the file holds {'no' if loaded is None else 'another'} optimiser for {opt!r}")
        filled.load_state_dict(state)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{path} does not fit: {error}") from error
    if opt is not None and loaded is not None:
        opt.load_state_dict(loaded.state_dict())
    return Checkpoint(filled, loaded if opt is None else opt, history)


def _build_model(content: dict[str, Any], state: dict[str, Array], ties: Ties) -> Module:
    network = content.get("network")
    if network is None:
        what = f"a {content['type']} with modules or methods of its author's own" if content else "parameters"
        raise CheckpointError(f"the file holds {what} and no network: build the model and pass it, model=...")
    if shapes(network) != shapes_of(state):
        raise CheckpointError("the file's network and parameters do not fit each other")
    model = build(network, ties)
    frozen = require_field(content, "frozen", list) if "frozen" in content else []  # files of before have none
    parameters = dict(model.named_parameters())
    for name in frozen:
        parameters[name].requires_grad = False
    return model


def _describe_history(history: History) -> dict[str, Any]:
    setting, position = history.setting, history.position
    return {
        "backend": history.backend,
        "fallback_reason": history.fallback_reason,
        "seconds": float(history.seconds).hex(),
        "setting": None if setting is None else {name: getattr(setting, name) for name in Setting._fields},
        "batches": position.batches,
        "loss": float(position.loss).hex(),
        "weighted_loss": float(position.weighted_loss).hex(),
        "generator": state_to_json(position.generator),
    }


def _build_history(content: Any, tensors: dict[str, Array]) -> History:
    history = History()
    history.backend, history.fallback_reason = _read_backend(content)
    history.seconds = float.fromhex(require_field(content, "seconds", str))
    series = [tensors[f"history.{name}"] for name in _SERIES]
    for name, loss in _MEANS.items():  # files of before have none
        series.append(tensors.get(f"history.{name}", np.full_like(tensors[f"history.{loss}"], np.nan)))
    if any(values.ndim != 1 or values.dtype != np.float64 for values in series):
        raise CheckpointError("the file's history is none of fastbp")
    epochs, recorded = len(series[0]), 1 + sum(len(values) > 0 for values in series[1:3])
    lengths = [len(values) for values in series]
    if any(length not in (0, epochs) for length in lengths) or lengths[3:] != lengths[:2]:
        raise CheckpointError("the series of the file's history differ in length")
    for values, own in zip(series, history.values(), strict=True):
        own.extend(values.tolist())
    batches = require_field(content, "batches", int)
    setting = content["setting"]
    if setting is not None:
        setting, types = {"parameters": "", **setting}, (int, int, bool, int, str)
        history.setting = Setting(*(require_field(setting, name, kind) for name, kind in zip(Setting._fields, types)))
        rows, size = history.setting.training_rows, history.setting.mini_batch_size
        fits = rows > 0 and size > 0 and 0 <= batches <= -(-rows // size)
        if not fits or (epochs and recorded != history.setting.recorded_series):
            raise CheckpointError("the file's history contradicts itself")
    elif epochs or batches:
        raise CheckpointError("the file's history contradicts itself")
    generator = state_from_json(content["generator"])
    loss = require_field(content, "loss", str)
    weighted_loss = require_field(content, "weighted_loss", str) if "weighted_loss" in content else loss
    history.position = Position(batches, float.fromhex(loss), generator, float.fromhex(weighted_loss))
    return history


def _read_backend(content: Any) -> tuple[Backend | Literal[""], str]:
    if "way" in content:  # files of before have one sentence for both
        backend, _, reason = require_field(content, "way", str).partition(": ")
        backend = "modules" if reason else backend
    else:
        backend, reason = require_field(content, "backend", str), require_field(content, "fallback_reason", str)
    for known in ("", "engine", "modules"):
        if backend == known:
            return known, reason
    raise CheckpointError(f"the file's history was trained by {backend!r}, which this fastbp does not know")

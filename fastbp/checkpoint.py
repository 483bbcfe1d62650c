"""Saving a training and going on with it later, in another process or on another machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fastbp.arrays import Array
from fastbp.atomic import write_atomically
from fastbp.checkpoint_file import CheckpointError, import_safetensors, pack, unpack
from fastbp.history import History, Position, Setting
from fastbp.nn.activations import ReLU, Sigmoid, Tanh
from fastbp.nn.linear import Linear
from fastbp.nn.module import Module
from fastbp.nn.sequential import Sequential
from fastbp.optim import SGD
from fastbp.orders import state_from_json, state_to_json

_ACTIVATIONS: dict[str, type[Module]] = {kind.__name__: kind for kind in (ReLU, Tanh, Sigmoid)}
_OPTIMISERS = {"SGD": SGD}
_SERIES = ("train_loss", "val_loss", "val_accuracy")
_MEANS = {"train_loss_mean": "train_loss", "val_loss_mean": "val_loss"}  # and the series that each belongs to

T = TypeVar("T")


class Checkpoint(NamedTuple):
    """What ``fastbp.load`` returns; ``opt`` and ``history`` are None where they were not saved."""

    model: Module
    opt: SGD | None
    history: History | None


def save(path: str | os.PathLike[str], model: Module, opt: SGD | None = None, history: History | None = None) -> None:
    """Write model, optimiser and history to ``path``, whole or not at all.

    The file replaces what was there when all of it is on the disk: a process that is killed, a full disk or a power cut
    leave the one before. It is in the format of safetensors. Needs ``pip install "fastbp[checkpoint]"``.

    Parameters
    ----------
    path : str or path
    model : Module
        The network of a ``Sequential`` of the library's modules is written too; of a model with modules of your own
        only the parameters, so that ``load`` needs a model to fill.
    opt : SGD or None
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
    from fastbp import __version__

    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    content: dict[str, Any] = {"fastbp": __version__, "type": type(model).__name__, "network": _describe(model)}
    if opt is not None:
        content["optimiser"] = _describe_optimiser(opt, model)
    if history is not None:
        content["history"] = _describe_history(history)
        tensors |= {f"history.{name}": values for name, values in history.as_arrays().items()}
    write_atomically(Path(path), pack(tensors, content))


def load(path: str | os.PathLike[str], model: Module | None = None, opt: SGD | None = None) -> Checkpoint:
    """Read what ``save`` wrote.

    Parameters
    ----------
    path : str or path
    model : Module or None
        Filled by the rules of ``load_state_dict`` and returned; None builds the network that was saved.
    opt : SGD or None
        Given the saved settings and returned; None builds one over the model's parameters.

    Raises
    ------
    CheckpointError
        If the file is not a whole checkpoint, or does not fit ``model`` or ``opt``. Nothing has changed then.
    OSError
        Where it cannot be read.
    """
    tensors, content = unpack(Path(path))
    state = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    try:
        history = _build_history(content["history"], tensors) if "history" in content else None
        filled = _build_model(content, state) if model is None else model
        loaded = _build_optimiser(content["optimiser"], filled) if "optimiser" in content else None
        if opt is not None and (loaded is None or type(opt) is not type(loaded) or opt.parameters != loaded.parameters):
            raise CheckpointError(f"{path} holds {'no' if loaded is None else 'another'} optimiser for {opt!r}")
        filled.load_state_dict(state)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{path} does not fit: {error}") from error
    if opt is not None and loaded is not None:
        opt.lr = loaded.lr
    return Checkpoint(filled, loaded if opt is None else opt, history)


def _describe(module: Module) -> dict[str, Any] | None:
    """Return a network in words, or None if it holds a module that is not the library's."""
    if type(module) is Sequential:
        inner = [_describe(child) for child in module]
        return None if None in inner else {"type": "Sequential", "modules": inner}
    if type(module) is Linear:
        sizes = {"in_features": module.in_features, "out_features": module.out_features}
        return {"type": "Linear", **sizes, "bias": module.bias is not None, "dtype": str(module.dtype)}
    return {"type": type(module).__name__} if type(module) in _ACTIVATIONS.values() else None


def _build_model(content: dict[str, Any], state: dict[str, Array]) -> Module:
    if content["network"] is None:
        raise CheckpointError(
            f"the file's {content['type']} holds modules of its author's own: build the model and pass it, model=..."
        )
    shapes = dict(_shapes(content["network"], ""))
    if shapes != {name: (array.shape, str(array.dtype)) for name, array in state.items()}:
        raise CheckpointError("the file's network and parameters do not fit each other")
    return _build(content["network"])


def _shapes(network: Any, prefix: str) -> Iterator[tuple[str, tuple[tuple[int, ...], str]]]:
    """Yield names, shapes and dtypes of the parameters of a network in words, before any memory is taken for it."""
    kind = _field(network, "type", str)
    if kind == "Sequential":
        for position, inner in enumerate(_field(network, "modules", list)):
            yield from _shapes(inner, f"{prefix}{position}.")
    elif kind == "Linear":
        sizes = _field(network, "out_features", int), _field(network, "in_features", int)
        yield f"{prefix}weight", (sizes, network["dtype"])
        if _field(network, "bias", bool):
            yield f"{prefix}bias", (sizes[:1], network["dtype"])
    elif kind not in _ACTIVATIONS:
        raise CheckpointError(f"the file's network holds a {kind}, which this fastbp does not know")


def _build(network: dict[str, Any]) -> Module:
    if network["type"] == "Sequential":
        return Sequential(*map(_build, network["modules"]))
    if network["type"] == "Linear":
        sizes = network["in_features"], network["out_features"]
        return Linear(*sizes, network["bias"], init="zeros", dtype=network["dtype"])
    return _ACTIVATIONS[network["type"]]()


def _describe_optimiser(opt: SGD, model: Module) -> dict[str, Any]:
    if type(opt) not in _OPTIMISERS.values():
        raise TypeError(f"save knows {', '.join(_OPTIMISERS)}, got {type(opt).__name__}; keep its settings yourself")
    names = {parameter: name for name, parameter in model.named_parameters()}
    if not set(opt.parameters) <= set(names):
        raise ValueError("save takes an optimiser over the model's parameters; build it from model.parameters()")
    return {"type": type(opt).__name__, "lr": opt.lr.hex(), "parameters": [names[p] for p in opt.parameters]}


def _build_optimiser(content: Any, model: Module) -> SGD:
    own = dict(model.named_parameters())
    kind = _OPTIMISERS[_field(content, "type", str)]
    parameters = [own[name] for name in _field(content, "parameters", list)]
    return kind(parameters, float.fromhex(_field(content, "lr", str)))


def _describe_history(history: History) -> dict[str, Any]:
    setting, position = history.setting, history.position
    return {
        "way": history.way,
        "seconds": float(history.seconds).hex(),
        "setting": None if setting is None else {name: getattr(setting, name) for name in Setting.__slots__},
        "batches": position.batches,
        "loss": float(position.loss).hex(),
        "weighted_loss": float(position.weighted_loss).hex(),
        "generator": state_to_json(position.generator),
    }


def _build_history(content: Any, tensors: dict[str, Array]) -> History:
    history = History(_field(content, "way", str))
    history.seconds = float.fromhex(_field(content, "seconds", str))
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
    batches = _field(content, "batches", int)
    setting = content["setting"]
    if setting is not None:
        setting, types = {"parameters": "", **setting}, (int, int, bool, int, str)
        history.setting = Setting(*(_field(setting, name, kind) for name, kind in zip(Setting.__slots__, types)))
        rows, size = history.setting.training_rows, history.setting.mini_batch_size
        fits = rows > 0 and size > 0 and 0 <= batches <= -(-rows // size)
        if not fits or (epochs and recorded != history.setting.recorded_series):
            raise CheckpointError("the file's history contradicts itself")
    elif epochs or batches:
        raise CheckpointError("the file's history contradicts itself")
    generator = state_from_json(content["generator"])
    loss = _field(content, "loss", str)
    weighted_loss = _field(content, "weighted_loss", str) if "weighted_loss" in content else loss
    history.position = Position(batches, float.fromhex(loss), generator, float.fromhex(weighted_loss))
    return history


def _field(content: Any, name: str, kind: type[T]) -> T:
    value = content[name]
    if type(value) is not kind:
        raise CheckpointError(f"the file's {name} is no {kind.__name__}")
    return value

"""Saving a training and going on with it later, in another process or on another machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from fastbp.checkpoint.atomic_write import write_atomically
from fastbp.checkpoint.description import build, describe, shapes, shapes_of
from fastbp.checkpoint.file_format import CheckpointError, import_safetensors, pack, unpack
from fastbp.checkpoint.history import build_history, describe_history, history_tensors
from fastbp.checkpoint.optimizer_description import build_optimizer, describe_optimizer, optimizer_tensors
from fastbp.checkpoint.scheduler_state import describe_scheduler, read_scheduler
from fastbp.checkpoint.ties import Ties, find_ties, match_ties, require_ties
from fastbp.checkpoint.training_state import describe_training_state, match_training_state
from fastbp.nn.module import Module
from fastbp.optim.lr_scheduler import LRScheduler
from fastbp.optim.optimizer import Optimizer
from fastbp.training.history import History
from fastbp.validation.arrays import Array
from fastbp.version import __version__


class Checkpoint(NamedTuple):
    """What ``fastbp.load`` returns; ``opt`` and ``history`` are None where they were not saved."""

    model: Module
    opt: Optimizer | None
    history: History | None


def save(
    path: str | os.PathLike[str],
    model: Module,
    opt: Optimizer | None = None,
    history: History | None = None,
    scheduler: LRScheduler | None = None,
) -> None:
    """Write model, optimiser, history and scheduler to ``path``, whole or not at all.

    The file replaces what was there when all of it is on the disk: a process that is killed, a full disk or a power cut
    leave the one before. It is in the format of safetensors. Needs ``pip install "fastbp[checkpoint]"``.

    Parameters
    ----------
    path : str or path
    model : Module
        The network of a ``Sequential`` of the library's modules is written too; of a model with modules or methods of
        your own only the parameters, so that ``load`` needs a model to fill. Layers that share a parameter are noted,
        and so are what is frozen and which modules are as ``eval()`` sets them.
    opt : Optimizer or None
        Over parameters of ``model``.
    history : History or None
        With it a training goes on where it stopped, with the same bits: see ``train_model``.
    scheduler : LRScheduler or None
        One of ``opt``, whose state is written: ``load`` fills one that you build.

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
    content: dict[str, Any] = {"fastbp": __version__, **describe_model(model, state)}
    if opt is not None:
        content["optimiser"] = describe_optimizer(opt, model)
        tensors |= optimizer_tensors(opt, model)
    if history is not None:
        content["history"] = describe_history(history)
        tensors |= history_tensors(history)
    if scheduler is not None:
        content["scheduler"] = describe_scheduler(scheduler, opt)
    write_atomically(Path(path), pack(tensors, content))


def load(
    path: str | os.PathLike[str],
    model: Module | None = None,
    opt: Optimizer | None = None,
    scheduler: LRScheduler | None = None,
) -> Checkpoint:
    """Read what ``save`` wrote, or the parameters in a safetensors file of another program.

    Parameters
    ----------
    path : str or path
        Of another program are ``safetensors.torch.save_file(module.state_dict(), path)`` and ``save_model`` of the same
        module: such a file fills ``model``, which it needs.
    model : Module or None
        Filled by the rules of ``load_state_dict``, and returned; its modules of the same names are given their modes
        and the counts of dropouts, its parameters whether they are frozen. None builds the network that was saved, and
        ties its layers as they were. Where the file notes which layers share a parameter, the same must in ``model``.
    opt : Optimizer or None
        Given the saved settings and state and returned; None builds one over the model's parameters.
    scheduler : LRScheduler or None
        One of ``opt``, built as the one that was saved; given its state.

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
        history = build_history(content["history"], tensors) if "history" in content else None
        ties = require_ties(content["tied"], state) if "tied" in content else None
        filled = build_model(content, state, ties or []) if model is None else model
        state = match_ties(filled, state, ties)
        loaded = build_optimizer(content["optimiser"], filled, tensors) if "optimiser" in content else None
        schedule = None if scheduler is None else read_scheduler(content, scheduler, opt)
        if opt is not None and (loaded is None or _kind_of(opt) != _kind_of(loaded)):
            raise CheckpointError(f"the file holds {'no' if loaded is None else 'another'} optimiser for {opt!r}")
        training_state = match_training_state(filled, content)
        filled.load_state_dict(state)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{path} does not fit: {error}") from error
    training_state.give()
    if opt is not None and loaded is not None:
        opt.load_state_dict(loaded.state_dict())
    if scheduler is not None and schedule is not None:
        scheduler.load_state_dict(schedule)
    return Checkpoint(filled, loaded if opt is None else opt, history)


def describe_model(model: Module, state: dict[str, Array]) -> dict[str, Any]:
    """Return in words what ``state``, the model's, does not hold."""
    content: dict[str, Any] = {"type": type(model).__name__}
    content |= {"network": describe(model, state), "tied": find_ties(model)}
    return content | describe_training_state(model)


def _kind_of(opt: Optimizer) -> tuple[type[Optimizer], list[Any]]:
    """Return what must be the same of two optimisers for one to take the other's state."""
    return type(opt), [group["params"] for group in opt.param_groups]


def build_model(content: dict[str, Any], state: dict[str, Array], ties: Ties) -> Module:
    """Return the network that ``describe_model`` put into words, with other numbers than ``state``."""
    network = content.get("network")
    if network is None:
        what = f"a {content['type']} with modules or methods of its author's own" if content else "parameters"
        raise CheckpointError(f"the file holds {what} and no network: build the model and pass it, model=...")
    if shapes(network) != shapes_of(state):
        raise CheckpointError("the file's network and parameters do not fit each other")
    return build(network, ties)

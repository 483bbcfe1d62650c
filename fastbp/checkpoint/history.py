"""The history of a training in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from fastbp.checkpoint.file_format import CheckpointError, require_field
from fastbp.training.early_stopping import BestEpoch, EarlyStopping
from fastbp.training.history import Backend, History, Position, StoppedBy, TrainingSetup
from fastbp.training.shuffle import state_from_json, state_to_json
from fastbp.validation.arrays import Array

_SERIES = ("train_loss", "val_loss", "val_accuracy")
_MEANS = {"train_loss_mean": "train_loss", "val_loss_mean": "val_loss"}  # and the series that each belongs to
_RULE = {"patience": int, "min_delta": str, "monitor": str, "mode": str, "restore_best": bool}


def describe_history(history: History) -> dict[str, Any]:
    """Return in words what ``history_tensors`` does not hold."""
    setting, position = history.setting, history.position
    return {
        "backend": history.backend,
        "fallback_reason": history.fallback_reason,
        "stopped_by": history.stopped_by,
        "seconds": float(history.seconds).hex(),
        "setting": None if setting is None else {name: getattr(setting, name) for name in TrainingSetup._fields},
        "best": None if history.best is None else _describe_best(history.best),
        "batches": position.batches,
        "loss": float(position.loss).hex(),
        "weighted_loss": float(position.weighted_loss).hex(),
        "generator": state_to_json(position.generator),
    }


def _describe_best(best: BestEpoch) -> dict[str, Any]:
    rule = {name: getattr(best.rule, name) for name in _RULE}
    return rule | {"min_delta": best.rule.min_delta.hex(), "before": best.before, "epoch": best.epoch}


def history_tensors(history: History) -> dict[str, Array]:
    """Return the series, and the states of the best epoch and of the last one where early stopping keeps them."""
    tensors = {f"history.{name}": values for name, values in history.as_arrays().items()}
    for prefix, state in (("best", history.best and history.best.state), ("last", history.position.last_state)):
        tensors |= {f"{prefix}.{name}": value for name, value in (state or {}).items()}
    return tensors


def build_history(content: Any, tensors: dict[str, Array]) -> History:
    """Return the history that was described, or raise CheckpointError or what Python raises for other words."""
    history = History()
    history.seconds = float.fromhex(require_field(content, "seconds", str))
    history.setting = None if content["setting"] is None else _read_setting(content["setting"])
    _read_series(history, tensors)
    history.backend, history.fallback_reason = _read_backend(content)
    history.stopped_by = _read_stopped_by(content.get("stopped_by", ""))
    history.best = _read_best(content.get("best"), history, tensors)
    batches = require_field(content, "batches", int)
    if history.setting is not None:
        rows, size = history.setting.training_rows, history.setting.mini_batch_size
        if rows < 0 or size <= 0 or batches < 0 or (rows and batches > -(-rows // size)):
            raise CheckpointError("the file's history contradicts itself")
    elif history.epochs or batches:
        raise CheckpointError("the file's history contradicts itself")
    generator = state_from_json(content["generator"])
    loss = require_field(content, "loss", str)
    weighted_loss = require_field(content, "weighted_loss", str) if "weighted_loss" in content else loss
    history.position = Position(batches, float.fromhex(loss), generator, float.fromhex(weighted_loss))
    history.position.last_state = _read_state("last", tensors)
    return history


def _read_setting(content: Any) -> TrainingSetup:
    words, kinds = {"parameters": "", "metrics": [], **content}, (int, int, bool, int, str, list)
    fields: dict[str, Any] = {
        name: require_field(words, name, kind) for name, kind in zip(TrainingSetup._fields, kinds)
    }
    fields["metrics"] = tuple(map(str, fields["metrics"]))
    if len(set(fields["metrics"])) != len(fields["metrics"]):
        raise CheckpointError("the file's history names a metric twice")
    return TrainingSetup(**fields)


def _read_series(history: History, tensors: Mapping[str, Array]) -> None:
    """Take the series of a history whose setting is known, or raise CheckpointError."""
    setting = history.setting
    series = [tensors[f"history.{name}"] for name in _SERIES]
    for name, loss in _MEANS.items():  # files of before have none
        series.append(tensors.get(f"history.{name}", np.full_like(tensors[f"history.{loss}"], np.nan)))
    names = [f"val_{name}" for name in setting.metrics if name != "accuracy"] if setting else []
    metrics = [tensors[f"history.{name}"] for name in names]
    if any(values.ndim != 1 or values.dtype != np.float64 for values in series + metrics):
        raise CheckpointError("the file's history is none of fastbp")
    epochs, lengths = len(series[0]), [len(values) for values in series]
    if any(length not in (0, epochs) for length in lengths[:2]) or lengths[3:] != lengths[:2]:
        raise CheckpointError("the series of the file's history differ in length")
    is_metric = setting is not None and "accuracy" in setting.metrics
    missing = {epochs - len(values) for values in metrics} | ({epochs - lengths[2]} if is_metric else set())
    if len(missing) > 1 or not missing <= {0, 1} or (not is_metric and lengths[2] not in (0, epochs)):
        raise CheckpointError("the series of the file's history differ in length")  # the last epoch's may be missing
    recorded = 1 + (lengths[1] > 0) + (lengths[2] > 0 and not is_metric)
    if epochs and setting is not None and recorded != setting.recorded_series:
        raise CheckpointError("the file's history contradicts itself")
    if setting is not None:
        history.begin(setting, "", "")
    for name, values in zip((*_SERIES, *_MEANS, *names), series + metrics):
        history[name].extend(values.tolist())


def _read_best(content: Any, history: History, tensors: Mapping[str, Array]) -> BestEpoch | None:
    if content is None:
        return None
    words: dict[str, Any] = {name: require_field(content, name, kind) for name, kind in _RULE.items()}
    rule = EarlyStopping(**words | {"min_delta": float.fromhex(words["min_delta"])})
    before, epoch, state = require_field(content, "before", int), content["epoch"], _read_state("best", tensors)
    is_epoch = epoch is None or (type(epoch) is int and before < epoch <= history.epochs)
    if rule.monitor not in history or not 0 <= before <= history.epochs or not is_epoch:
        raise CheckpointError("the file's history contradicts itself")
    if (state is not None) != (rule.restore_best and epoch is not None):
        raise CheckpointError("the file's history has a best epoch without its parameters, or the other way round")
    return BestEpoch(rule, before, epoch, state)


def _read_state(prefix: str, tensors: Mapping[str, Array]) -> dict[str, Array] | None:
    """Return the state that the file keeps beside that of the model; None if there is none."""
    own = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    names = [name for name in tensors if name.startswith(f"{prefix}.")]
    state = {name.removeprefix(f"{prefix}."): tensors[name] for name in names}
    if state and {name: value.shape for name, value in state.items()} != {n: v.shape for n, v in own.items()}:
        raise CheckpointError("the parameters that the file's history keeps are not of the model")
    return state or None


def _read_stopped_by(word: Any) -> StoppedBy | Literal[""]:
    for known in ("", *get_args(StoppedBy)):
        if word == known:
            return known  # type: ignore[no-any-return]
    raise CheckpointError(f"the file's history was stopped by {word!r}, which this fastbp does not know")


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

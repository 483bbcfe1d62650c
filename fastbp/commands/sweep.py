"""``python -m fastbp sweep sweep.toml``: trains what a file tells, goes on after a kill, and keeps the best model."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import nn, optim
from fastbp.checkpoint.save_load import save
from fastbp.commands.sweep_data import read_data
from fastbp.commands.sweep_file import SweepFileError, read_sweep_file
from fastbp.sweep import SweepResult, sweep
from fastbp.training.many_job import TrainingJob
from fastbp.training.progress import ProgressBar
from fastbp.validation.arrays import Array

_BAR = 24  # characters of the longest bar in the table


def run_sweep(path: Path, *, chunk_size: int = 32) -> None:
    """Train all settings of the file that have no result yet, print all results, and leave the best model.

    In the file's folder of results are ``results.jsonl``, a line for each training that has ended, and
    ``best.safetensors``, which ``fastbp.load`` reads.

    Raises
    ------
    SweepFileError
        For a file or data that cannot be used.
    """
    file = read_sweep_file(path)
    takes_classes = {getattr(nn, setting["loss"]).takes_classes for setting in file.settings}
    if len(takes_classes) > 1:
        raise SweepFileError(f"{path}: loss takes losses of values or losses of classes, got both")
    input, target = read_data(file, takes_classes=takes_classes.pop() is True)
    file.folder.mkdir(parents=True, exist_ok=True)
    results = _Results(file.folder, _fingerprint(input, target, file.data))
    order = np.random.default_rng(file.data["seed"]).permutation(len(input))
    validating = max(1, round(file.data["validation"] * len(input)))
    if validating >= len(input):
        raise SweepFileError(f"{path}: a sweep takes two rows of data or more, got {len(input)}")
    split = np.sort(order[validating:]), np.sort(order[:validating])
    left = [setting for setting in file.settings if not results.has(setting)]
    wanted = None if sys.stderr.isatty() else False
    with closing(ProgressBar(wanted, len(file.settings), len(file.settings) - len(left), unit="model")) as bar:

        def keep(chunk: list[SweepResult]) -> None:
            results.keep(chunk)
            for _ in chunk:
                bar.advance()

        sweep(build_job, left, (input, target, *split), chunk_size=chunk_size, on_chunk=keep)
    print(table(file.settings, results.values))
    if results.best is not None:
        print(f"best model: {file.folder / _BEST}")


def build_job(setting: Mapping[str, Any], input: Array, target: Array, rows: Array, val_rows: Array) -> TrainingJob:
    """Return the training of one setting; network and order are drawn from its seed."""
    outputs = int(target.max()) + 1 if target.ndim == 1 else target.shape[1]
    rng = np.random.default_rng(setting["seed"])
    modules: list[nn.Module] = []
    for inputs, width in pairwise((input.shape[1], *setting["hidden"], outputs)):
        modules += [nn.Linear(inputs, width, rng=rng), getattr(nn, setting["activation"])()]
    model = nn.Sequential(*modules[:-1])
    return TrainingJob(
        model=model, criterion=getattr(nn, setting["loss"])(),
        opt=getattr(optim, setting["optimizer"])(model.parameters(), lr=setting["lr"]),
        epochs=setting["epochs"], mini_batch_size=setting["mini_batch_size"], train_input=input, train_target=target,
        rows=rows, val_rows=val_rows, shuffle=True, rng=setting["seed"], on_nonfinite="ignore",
        name=json.dumps(dict(setting)),
    )  # fmt: skip


_FILE, _BEST = "results.jsonl", "best.safetensors"


class _Results:
    """What has ended, in a file with a line for each, written after the best model of all is.

    Attributes
    ----------
    values : dict of str to float
        The validation loss of each setting, NaN where it failed.
    best : float or None
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder, self.values = folder, dict[str, float]()
        path = folder / _FILE
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        for line in lines[1:-1]:  # behind the last line feed is what a kill cut off
            entry = json.loads(line)
            value = entry["val_loss"]
            self.values[_key(entry["setting"])] = float("nan") if value is None else value
        if len(lines) > 1 and json.loads(lines[0]) != {"data": fingerprint}:
            raise SweepFileError(f"{path} is of other data, or of another validation part; choose another folder")
        whole = [json.dumps({"data": fingerprint}), *lines[1:-1]]
        if lines != [*whole, ""]:
            path.write_text("\n".join(whole) + "\n", encoding="utf-8")
        self.best = min(filter(isfinite, self.values.values()), default=None)

    def has(self, setting: Mapping[str, Any]) -> bool:
        """Whether it has ended."""
        return _key(setting) in self.values

    def keep(self, chunk: list[SweepResult]) -> None:
        """Write the best model, if it is in the chunk, and then the results."""
        lines = []
        for result in chunk:
            losses = result.history["val_loss_mean"]
            value = losses[-1] if losses and not result.error else float("nan")
            if isfinite(value) and (self.best is None or value < self.best):
                self.best = value
                save(self._folder / _BEST, result.model)
            self.values[_key(result.setting)] = value
            entry = {"setting": dict(result.setting), "val_loss": value if isfinite(value) else None}
            lines.append(json.dumps(entry | {"seconds": result.history.seconds, "error": result.error}))
        with (self._folder / _FILE).open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _key(setting: Mapping[str, Any]) -> str:
    return json.dumps(dict(setting), sort_keys=True)


def _fingerprint(input: Array, target: Array, data: Mapping[str, Any]) -> str:
    """Return what tells data and their parts from others."""
    digest = hashlib.sha256(f"{input.shape} {target.shape} {data['validation']} {data['seed']}".encode())
    digest.update(input.data)
    digest.update(target.data)
    return digest.hexdigest()


def table(settings: list[dict[str, Any]], values: Mapping[str, float]) -> str:
    """Return the results as text, the best first, with a bar as long as the loss is large; only what was swept."""
    swept = [name for name in settings[0] if any(setting[name] != settings[0][name] for setting in settings)]
    found = sorted(((values[_key(s)], s) for s in settings), key=lambda pair: (not isfinite(pair[0]), pair[0]))
    largest = max((value for value, _ in found if isfinite(value)), default=1.0) or 1.0
    rows = [["val loss", "", *swept]]
    for value, setting in found:
        bar = "█" * max(1, round(_BAR * value / largest)) if isfinite(value) else ""
        rows.append([f"{value:.6g}" if isfinite(value) else "failed", bar, *(str(setting[name]) for name in swept)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)

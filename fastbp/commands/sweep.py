"""``python -m fastbp sweep sweep.toml``: trains what a file tells, goes on after a kill, and keeps the best model."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from contextlib import closing
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import nn, optim
from fastbp.commands.sweep_data import read_data
from fastbp.commands.sweep_file import SweepFileError, read_sweep_file
from fastbp.commands.sweep_results import SweepResults
from fastbp.commands.sweep_table import swept_names, table_of
from fastbp.runtime.threads import get_num_threads
from fastbp.sweep import SweepResult, sweep
from fastbp.training.early_stopping import EarlyStopping
from fastbp.training.many_job import TrainingJob
from fastbp.training.progress import ProgressBar
from fastbp.validation.arrays import Array


def run_sweep(path: Path, *, chunk_size: int | None = None) -> None:
    """Train all settings of the file that have no result yet, print all results, and leave the best model.

    In the file's folder of results are ``results.jsonl``, a line for each training that has ended, and
    ``best.safetensors``, which ``fastbp.load`` reads. ``chunk_size`` models are trained in one call, and their results
    kept together; None is four for each thread, and eight at the least.

    Raises
    ------
    SweepFileError
        For a file or data that cannot be used, alone or together.
    """
    file = read_sweep_file(path)
    takes_classes = {getattr(nn, setting["loss"]).takes_classes for setting in file.settings}
    if len(takes_classes) > 1:
        raise SweepFileError(f"{path}: loss takes losses of values or losses of classes, got both")
    input, target, classes = read_data(file, takes_classes=takes_classes.pop() is True)
    order = np.random.default_rng(file.data["seed"]).permutation(len(input))
    validating = max(1, round(file.data["validation"] * len(input)))
    if validating >= len(input):
        raise SweepFileError(f"{path}: a sweep takes two rows of data or more, got {len(input)}")
    split = np.sort(order[validating:]), np.sort(order[:validating])
    file.folder.mkdir(parents=True, exist_ok=True)
    results = SweepResults(file.folder, _fingerprint(input, target, file.data))
    left = [setting for setting in file.settings if results.get(setting) is None]
    chunk_size = chunk_size or max(8, 4 * get_num_threads())
    watched = sys.stderr.isatty() and find_spec("tqdm") is not None
    with closing(ProgressBar(watched, len(file.settings), len(file.settings) - len(left), unit="model")) as bar:

        def keep(chunk: list[SweepResult]) -> None:
            results.keep(chunk)
            for _ in chunk:
                bar.advance()

        sweep(build_job, left, (input, target, *split), chunk_size=chunk_size, on_chunk=keep)
    entries = [entry for setting in file.settings if (entry := results.get(setting)) is not None]
    print(_printable(table_of(entries)))
    if classes:
        print(_printable(f"classes: {', '.join(f'{number} = {name}' for number, name in enumerate(classes))}"))
    if results.best is not None:
        setting = results.best.setting
        shown = ", ".join(f"{name} = {setting.get(name)}" for name in swept_names([*file.settings, setting]))
        print(f"best model: {results.best_path} of val loss {results.best.val_loss:.6g}{shown and f', {shown}'}")


def build_job(setting: Mapping[str, Any], input: Array, target: Array, rows: Array, val_rows: Array) -> TrainingJob:
    """Return the training of one setting; network and order are drawn from its seed."""
    outputs = int(target.max()) + 1 if target.ndim == 1 else target.shape[1]
    rng, patience = np.random.default_rng(setting["seed"]), setting["patience"]
    modules: list[nn.Module] = []
    for inputs, width in pairwise((input.shape[1], *setting["hidden"], outputs)):
        modules += [nn.Linear(inputs, width, rng=rng), getattr(nn, setting["activation"])()]
    model = nn.Sequential(*modules[:-1])
    return TrainingJob(
        model=model, criterion=getattr(nn, setting["loss"])(),
        opt=getattr(optim, setting["optimizer"])(model.parameters(), lr=setting["lr"]),
        epochs=setting["epochs"], mini_batch_size=setting["mini_batch_size"], train_input=input, train_target=target,
        rows=rows, val_rows=val_rows, shuffle=True, rng=setting["seed"], on_nonfinite="ignore",
        early_stopping=EarlyStopping(patience, monitor="val_loss_mean") if patience else None,
        name=json.dumps(dict(setting)),
    )  # fmt: skip


def _printable(text: str) -> str:
    """Return ``text`` with question marks for what standard output cannot show, such as bars on some Windows."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _fingerprint(input: Array, target: Array, data: Mapping[str, Any]) -> str:
    """Return what tells data and their parts from others."""
    digest = hashlib.sha256(f"{input.shape} {target.shape} {data['validation']} {data['seed']}".encode())
    digest.update(input.data)
    digest.update(target.data)
    return digest.hexdigest()

"""What a sweep leaves in its folder: ``results.jsonl``, a line for each training that has ended, and the best model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from fastbp.checkpoint.save_load import save
from fastbp.commands.sweep_file import SweepFileError
from fastbp.sweep import SweepResult

_FILE, _BEST = "results.jsonl", "best.safetensors"


class Entry(NamedTuple):
    """What came of one setting: its validation loss, NaN if ``error`` tells what went wrong."""

    setting: Mapping[str, Any]
    val_loss: float
    error: str = ""


class SweepResults:
    """The trainings that have ended, read from a folder and added to it; a kill at any moment costs none of them.

    A chunk's lines are written after its best model is, if that is the best of all: what a kill leaves half done is
    trained again, with the same bits.

    Parameters
    ----------
    folder : Path
    fingerprint : str
        Of the data: results of others are not mixed with them.

    Attributes
    ----------
    best : Entry or None
        The smallest loss of all, the earliest of equal ones.
    best_path : Path
        The file of its model.

    Raises
    ------
    SweepFileError
        If the folder holds results of other data, or a file that no sweep has written.
    OSError
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.best_path, self._path = folder / _BEST, folder / _FILE
        self._entries: dict[str, Entry] = {}
        self.best: Entry | None = None
        content = self._path.read_bytes() if self._path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]  # behind the last line feed is what a kill cut off
        try:
            first, *lines = whole.decode().splitlines() or [""]
            of_other_data = bool(first) and json.loads(first) != {"data": fingerprint}
            for entry in map(_read, lines):
                self._note(entry)
        except (ValueError, KeyError, TypeError) as error:
            raise SweepFileError(f"{self._path} is not a sweep's: {error!r}; choose another folder") from error
        if of_other_data:
            raise SweepFileError(f"{self._path} is of other data, or of another validation part; choose another folder")
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))
        self._head = [] if first else [json.dumps({"data": fingerprint})]  # written with the first results
        if self.best is not None and not self.best_path.exists():
            del self._entries[key_of(self.best.setting)]  # trained again, for its model is gone
            self.best = None
            for entry in self._entries.values():
                self._note(entry)

    def get(self, setting: Mapping[str, Any]) -> Entry | None:
        """Return what came of a setting, None if it has not ended."""
        return self._entries.get(key_of(setting))

    def keep(self, chunk: Sequence[SweepResult]) -> None:
        """Write the best model, if it is in the chunk, and then the chunk's results."""
        lines = []
        for result in chunk:
            entry = _entry_of(result)
            if self._note(entry) and result.model is not None:
                save(self.best_path, result.model)
            value = entry.val_loss if isfinite(entry.val_loss) else None
            line = {"setting": dict(entry.setting), "val_loss": value, "epochs": result.history.epochs}
            lines.append(json.dumps(line | {"seconds": result.history.seconds, "error": entry.error}))
        self._append([*self._head, *lines])
        self._head.clear()

    def _note(self, entry: Entry) -> bool:
        """Return whether it is the best so far."""
        self._entries[key_of(entry.setting)] = entry
        if not isfinite(entry.val_loss) or (self.best is not None and self.best.val_loss <= entry.val_loss):
            return False
        self.best = entry
        return True

    def _append(self, lines: Sequence[str]) -> None:
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())


def key_of(setting: Mapping[str, Any]) -> str:
    """Return the setting as text that is the same for equal ones."""
    return json.dumps(dict(setting), sort_keys=True)


def _read(line: str) -> Entry:
    entry = json.loads(line)
    value = entry["val_loss"]
    return Entry(dict(entry["setting"]), float("nan") if value is None else float(value), str(entry["error"]))


def _entry_of(result: SweepResult) -> Entry:
    history = result.history
    losses = history["val_loss_mean"] if not result.error else []
    value = losses[(history.best_epoch or history.epochs) - 1] if losses else float("nan")
    if isfinite(value):
        return Entry(result.setting, value)
    return Entry(result.setting, float("nan"), result.error or f"the loss became {value:g}")

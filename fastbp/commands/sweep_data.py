"""The data of ``python -m fastbp sweep``: CSV, Parquet or .npy."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.commands.sweep_file import SweepFile, SweepFileError
from fastbp.validation.arrays import Array


def read_data(file: SweepFile, *, takes_classes: bool) -> tuple[Array, Array]:
    """Return inputs, float32 of shape (n, i), and targets: float32 of shape (n, o), or int64 of shape (n,).

    Raises
    ------
    SweepFileError
        For data that are missing, or no numbers; it names file, line and column.
    """
    data, beside = file.data, file.path.parent
    if data["input"] is not None:
        input, target = (_read_npy(beside / data[name], file, name) for name in ("input", "target"))
    else:
        path = beside / data["file"]
        columns = _read_table(path, file)
        wanted = [data["target"]] if isinstance(data["target"], str) else data["target"]
        for name in wanted:
            if name not in columns:
                raise SweepFileError(
                    f"{file.path}: target takes columns of {path.name}, {', '.join(columns)}, got {name!r}"
                )
        input = np.column_stack([values for name, values in columns.items() if name not in wanted])
        target = np.column_stack([columns[name] for name in wanted])
    if len(input) != len(target):
        raise SweepFileError(
            f"{file.path}: input and target take one row a sample each, got {len(input)} and {len(target)}"
        )
    input = np.ascontiguousarray(input.reshape(len(input), -1), np.float32)
    if takes_classes:
        return input, np.ascontiguousarray(target.reshape(-1), np.int64)
    return input, np.ascontiguousarray(target.reshape(len(target), -1), np.float32)


def _read_npy(path: Path, file: SweepFile, key: str) -> Array:
    try:
        array: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SweepFileError(f"{file.path}: {key} cannot be read: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or not array.ndim:
        raise SweepFileError(f"{file.path}: {key} takes an array of numbers, got {path.name}")
    return array


def _read_table(path: Path, file: SweepFile) -> dict[str, Array]:
    """Return the columns by name."""
    try:
        if path.suffix == ".parquet":
            return _read_parquet(path)
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as lines:
                return _read_csv(path, csv.reader(lines))
    except OSError as error:
        raise SweepFileError(f"{file.path}: file cannot be read: {error}") from error
    raise SweepFileError(f"{file.path}: file takes a .csv or .parquet file, got {path.name}")


def _read_csv(path: Path, reader: Any) -> dict[str, Array]:
    names: list[str] = [name.strip() for name in next(reader, [])]
    rows: list[list[float]] = []
    for row in reader:
        if not row:
            continue
        if len(row) != len(names):
            raise SweepFileError(f"{path}, line {reader.line_num}: {len(names)} columns begin the file, got {len(row)}")
        for name, text in zip(names, row, strict=True):
            if not _is_number(text):
                raise SweepFileError(f"{path}, line {reader.line_num}: column {name!r} takes numbers, got {text!r}")
        rows.append([float(text) for text in row])
    if not rows:
        raise SweepFileError(f"{path}: a table takes a line of names and one row or more")
    return dict(zip(names, np.array(rows).T, strict=True))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_parquet(path: Path) -> dict[str, Array]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError("a sweep over Parquet needs pyarrow: pip install pyarrow") from error
    table = parquet.read_table(path)
    columns: dict[str, Array] = {name: table[name].to_numpy() for name in table.column_names}
    for name, values in columns.items():
        if values.dtype.kind not in "fiub":
            raise SweepFileError(f"{path}: column {name!r} takes numbers, got {values.dtype}")
    return columns

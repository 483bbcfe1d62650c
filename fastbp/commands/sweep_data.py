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
        input, target = _of_table(beside / data["file"], file)
    if len(input) != len(target):
        raise SweepFileError(
            f"{file.path}: input and target take one row a sample each, got {len(input)} and {len(target)}"
        )
    input = np.ascontiguousarray(input.reshape(len(input), -1), np.float32)
    if takes_classes:
        return input, _classes(target, file)
    return input, np.ascontiguousarray(target.reshape(len(target), -1), np.float32)


def _of_table(path: Path, file: SweepFile) -> tuple[Array, Array]:
    columns = _read_table(path, file)
    for name, values in columns.items():
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise SweepFileError(f"{path}: column {name!r} takes finite numbers, got {values[row]} in row {row + 1}")
    wanted = [file.data["target"]] if isinstance(file.data["target"], str) else file.data["target"]
    for name in wanted:
        if name not in columns:
            raise SweepFileError(
                f"{file.path}: target takes columns of {path.name}, {', '.join(columns)}, got {name!r}"
            )
    others = [values for name, values in columns.items() if name not in wanted]
    if not others:
        raise SweepFileError(f"{file.path}: target leaves {path.name} no column as input")
    return np.column_stack(others), np.column_stack([columns[name] for name in wanted])


def _classes(target: Array, file: SweepFile) -> Array:
    """Return targets as numbers of classes, int64 of shape (n,)."""
    if target.size != len(target) or (target != np.floor(target)).any() or (target < 0).any():
        wrong = target[(target != np.floor(target)) | (target < 0)]
        came = f"{wrong[0]}" if wrong.size else f"{target.size // len(target)} numbers a sample"
        raise SweepFileError(f"{file.path}: a loss of classes takes one target from 0, 1, 2, ... a sample, got {came}")
    return np.ascontiguousarray(target.reshape(-1), np.int64)


def _read_npy(path: Path, file: SweepFile, key: str) -> Array:
    try:
        array: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SweepFileError(f"{file.path}: {key} cannot be read: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or not array.ndim:
        raise SweepFileError(f"{file.path}: {key} takes an array of numbers, got {path.name}")
    if not np.isfinite(array).all():
        raise SweepFileError(f"{file.path}: {key} takes finite numbers, got {path.name} with NaN or infinity")
    if not len(array):
        raise SweepFileError(f"{file.path}: {key} takes one row or more, got {path.name} of shape {array.shape}")
    return array


def _read_table(path: Path, file: SweepFile) -> dict[str, Array]:
    """Return the columns by name."""
    try:
        if path.suffix == ".parquet":
            return _read_parquet(path)
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as lines:  # Excel's has a mark at its beginning
                return _read_csv(path, csv.reader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SweepFileError(f"{file.path}: file cannot be read: {error}") from error
    raise SweepFileError(f"{file.path}: file takes a .csv or .parquet file, got {path.name}")


def _read_csv(path: Path, reader: Any) -> dict[str, Array]:
    names: list[str] = [name.strip() for name in next(reader, [])]
    for name in names:
        if names.count(name) > 1:
            raise SweepFileError(f"{path}, line 1: columns take names of their own, got {name!r} twice")
    rows: list[list[float]] = []
    for row in reader:
        if not row:
            continue
        if len(row) != len(names):
            raise SweepFileError(f"{path}, line {reader.line_num}: {len(names)} columns begin the file, got {len(row)}")
        try:
            rows.append([float(text) for text in row])
        except ValueError as error:
            name, text = next(pair for pair in zip(names, row) if not _is_number(pair[1]))
            where = f"{path}, line {reader.line_num}"
            raise SweepFileError(f"{where}: column {name!r} takes numbers, got {text!r}") from error
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
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError('a sweep over Parquet needs pyarrow: pip install "fastbp[parquet]"') from error
    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise SweepFileError(f"{path} cannot be read: {error}") from error
    columns, kinds = dict[str, Array](), pyarrow.types
    for name, column in zip(table.column_names, table.columns):
        if not any(is_kind(column.type) for is_kind in (kinds.is_integer, kinds.is_floating, kinds.is_boolean)):
            raise SweepFileError(f"{path}: column {name!r} takes numbers, got {column.type}")
        if column.null_count:
            raise SweepFileError(f"{path}: column {name!r} takes a number in each row, got {column.null_count} empty")
        columns[name] = column.to_numpy()
    if not table.num_rows or not columns:
        raise SweepFileError(f"{path}: a table takes one column and one row or more")
    return columns

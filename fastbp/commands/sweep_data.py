"""The data of ``python -m fastbp sweep``: CSV, Parquet or .npy."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbp.commands.sweep_file import SweepFile, SweepFileError
from fastbp.validation.arrays import Array


class SweepData(NamedTuple):
    """What is trained with.

    Attributes
    ----------
    input : ndarray of float32, shape (n, i)
    target : ndarray of float32 and shape (n, o), or of int64 and shape (n,)
    classes : sequence of str
        The names of classes by their numbers; empty where the data have numbers.
    """

    input: Array
    target: Array
    classes: list[str]


def read_data(file: SweepFile, *, takes_classes: bool) -> SweepData:
    """Return inputs and targets, which are classes if the loss takes these.

    Raises
    ------
    SweepFileError
        For data that are missing, or no numbers; it names file, line and column.
    """
    data, beside = file.data, file.path.parent
    if data["input"] is not None:
        input = _read_npy(beside / data["input"], file, "input")
        target = _read_npy(beside / data["target"], file, "target", takes_names=takes_classes)
    else:
        input, target = _of_table(beside / data["file"], file, takes_classes=takes_classes)
    if len(input) != len(target):
        raise SweepFileError(
            f"{file.path}: input and target take one row a sample each, got {len(input)} and {len(target)}"
        )
    input = np.ascontiguousarray(input.reshape(len(input), -1), np.float32)
    if takes_classes:
        return SweepData(input, *_classes(target, file))
    return SweepData(input, np.ascontiguousarray(target.reshape(len(target), -1), np.float32), [])


def _of_table(path: Path, file: SweepFile, *, takes_classes: bool) -> tuple[Array, Array]:
    wanted = [file.data["target"]] if isinstance(file.data["target"], str) else file.data["target"]
    columns = _read_table(path, file, wanted if takes_classes else ())
    for name, values in columns.items():
        if values.dtype.kind == "U":
            columns[name] = values = _numbers_or_names(values, path, name)
        if values.dtype.kind != "U" and not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise SweepFileError(f"{path}: column {name!r} takes finite numbers, got {values[row]} in row {row + 1}")
    for name in wanted:
        if name not in columns:
            raise SweepFileError(
                f"{file.path}: target takes columns of {path.name}, {', '.join(columns)}, got {name!r}"
            )
    others = [values for name, values in columns.items() if name not in wanted]
    if not others:
        raise SweepFileError(f"{file.path}: target leaves {path.name} no column as input")
    return np.column_stack(others), np.column_stack([columns[name] for name in wanted])


def _numbers_or_names(texts: Array, path: Path, column: str) -> Array:
    """Return a column of text as numbers if it has only these; else it has none."""
    rule = f"{path}: column {column!r} takes the number or the name of a class in each row"
    if (texts == "").any():
        raise SweepFileError(f"{rule}, got '' in row {np.flatnonzero(texts == '')[0] + 1}")
    numeric = np.array([_is_number(text) for text in texts])
    if numeric.all():
        return np.array([float(text) for text in texts])
    if numeric.any():
        number, name = np.flatnonzero(numeric)[0], np.flatnonzero(~numeric)[0]
        came = f"{str(texts[number])!r} in row {number + 1} and {str(texts[name])!r} in row {name + 1}"
        raise SweepFileError(f"{rule}, and all of one kind, got {came}")
    return texts


def _classes(target: Array, file: SweepFile) -> tuple[Array, list[str]]:
    """Return targets as numbers of classes, int64 of shape (n,), and the names of classes, if they have any."""
    if target.dtype.kind == "U" and target.size == len(target):
        names, numbers = np.unique(target.reshape(-1), return_inverse=True)
        return np.ascontiguousarray(numbers.reshape(-1), np.int64), names.tolist()
    if target.dtype.kind == "U":
        raise SweepFileError(f"{file.path}: a loss of classes takes one target a sample, got {target[0].tolist()}")
    if target.size != len(target) or (target != np.floor(target)).any() or (target < 0).any():
        wrong = target[(target != np.floor(target)) | (target < 0)]
        came = f"{wrong[0]}" if wrong.size else f"{target.size // len(target)} numbers a sample"
        raise SweepFileError(f"{file.path}: a loss of classes takes one target from 0, 1, 2, ... a sample, got {came}")
    return np.ascontiguousarray(target.reshape(-1), np.int64), []


def _read_npy(path: Path, file: SweepFile, key: str, *, takes_names: bool = False) -> Array:
    try:
        array: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SweepFileError(f"{file.path}: {key} cannot be read: {error}") from error
    kinds = "fiuU" if takes_names else "fiu"
    if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds or not array.ndim:
        raise SweepFileError(f"{file.path}: {key} takes an array of numbers, got {path.name}")
    if array.dtype.kind != "U" and not np.isfinite(array).all():
        raise SweepFileError(f"{file.path}: {key} takes finite numbers, got {path.name} with NaN or infinity")
    if not len(array):
        raise SweepFileError(f"{file.path}: {key} takes one row or more, got {path.name} of shape {array.shape}")
    return array


def _read_table(path: Path, file: SweepFile, text: Collection[str]) -> dict[str, Array]:
    """Return the columns by name: of numbers, but those named in ``text`` may be of text."""
    try:
        if path.suffix == ".parquet":
            return _read_parquet(path, text)
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as lines:  # Excel's has a mark at its beginning
                return _read_csv(path, csv.reader(lines), text)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SweepFileError(f"{file.path}: file cannot be read: {error}") from error
    raise SweepFileError(f"{file.path}: file takes a .csv or .parquet file, got {path.name}")


def _read_csv(path: Path, reader: Any, text: Collection[str]) -> dict[str, Array]:
    names: list[str] = [name.strip() for name in next(reader, [])]
    for name in names:
        if names.count(name) > 1:
            raise SweepFileError(f"{path}, line 1: columns take names of their own, got {name!r} twice")
    places = [place for place, name in enumerate(names) if name in text]
    numeric = [name for name in names if name not in text]
    rows: list[list[float]] = []
    texts: list[list[str]] = []
    for row in reader:
        if not row:
            continue
        if len(row) != len(names):
            raise SweepFileError(f"{path}, line {reader.line_num}: {len(names)} columns begin the file, got {len(row)}")
        texts.append([row.pop(place).strip() for place in reversed(places)])
        try:
            rows.append([float(value) for value in row])
        except ValueError as error:
            name, value = next(pair for pair in zip(numeric, row) if not _is_number(pair[1]))
            where = f"{path}, line {reader.line_num}"
            raise SweepFileError(f"{where}: column {name!r} takes numbers, got {value!r}") from error
    if not rows:
        raise SweepFileError(f"{path}: a table takes a line of names and one row or more")
    columns = dict(zip(numeric, np.array(rows).T, strict=True))
    return columns | {names[place]: np.array(own) for place, own in zip(reversed(places), zip(*texts))}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_parquet(path: Path, text: Collection[str]) -> dict[str, Array]:
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
        if name in text and kinds.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        is_text = name in text and (kinds.is_string(column.type) or kinds.is_large_string(column.type))
        numeric = kinds.is_integer, kinds.is_floating, kinds.is_boolean
        if not is_text and not any(is_kind(column.type) for is_kind in numeric):
            raise SweepFileError(f"{path}: column {name!r} takes numbers, got {column.type}")
        if column.null_count:
            raise SweepFileError(f"{path}: column {name!r} takes a number in each row, got {column.null_count} empty")
        columns[name] = np.array(column.to_pylist()) if is_text else column.to_numpy()
    if not table.num_rows or not columns:
        raise SweepFileError(f"{path}: a table takes one column and one row or more")
    return columns

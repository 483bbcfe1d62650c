"""The file of ``python -m fastbp sweep``, read and checked: an error names its line and key.

[data]
file = "houses.csv"          # or .parquet; or input = "x.npy" and target = "y.npy"
target = ["price"]           # columns; the others are inputs. A loss of classes takes names too, numbered as they sort
validation = 0.2             # part of the rows
seed = 0                     # which rows these are
[model]                      # a list means: each of them
hidden = [[32], [64, 64]]
activation = ["ReLU", "Tanh"]
[training]
loss = "MSELoss"
optimizer = ["Adam"]
lr = [0.001, 0.01]
epochs = 50
patience = 10                # epochs that are no better, and then the training stops; 0, or no such line: all epochs
mini_batch_size = 32
seeds = [0, 1, 2]
[output]
folder = "results"           # beside the file
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from fastbp import nn, optim
from fastbp.nn.activations import Activation
from fastbp.nn.losses.kernel_loss import KernelLoss
from fastbp.optim.optimizer import Optimizer


class SweepFileError(ValueError):
    """A sweep's file cannot be used; the text names the line and the key."""


class SweepFile(NamedTuple):
    """What a sweep's file says.

    Attributes
    ----------
    path : Path
    data : mapping
        "file" or "input", "target", "validation", "seed".
    settings : list of dict
        One of each training.
    folder : Path
        Where results go.
    """

    path: Path
    data: Mapping[str, Any]
    settings: list[dict[str, Any]]
    folder: Path


class _Key(NamedTuple):
    """What a key takes: in words, and as a test; whether a list of such values is one of each; and its default."""

    takes: str
    fits: Callable[[Any], bool]
    is_swept: bool = False
    default: Any = None


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and value >= 0


def _is_widths(value: Any) -> bool:
    return isinstance(value, list) and all(_is_count(width) for width in value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_names(value: Any) -> bool:
    return _is_text(value) or (isinstance(value, list) and bool(value) and all(map(_is_text, value)))


def _names(module: Any, base: type) -> list[str]:
    """Return the names of what a module has of this kind and builds from no arguments, or from parameters alone."""
    kinds = {name: kind for name, kind in vars(module).items() if isinstance(kind, type) and issubclass(kind, base)}
    return sorted(name for name, kind in kinds.items() if kind is not base and not _asks_for_more(kind))


def _asks_for_more(kind: type) -> bool:
    optional = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    asked = [each for each in signature(kind).parameters.values() if each.kind not in optional]
    return any(each.default is Parameter.empty and each.name != "params" for each in asked)


_ACTIVATIONS, _LOSSES, _OPTIMIZERS = _names(nn, Activation), _names(nn, KernelLoss), _names(optim, Optimizer)


_SECTIONS: dict[str, dict[str, _Key]] = {
    "data": {
        "file": _Key("the name of a .csv or .parquet file", _is_text),
        "input": _Key("the name of a .npy file", _is_text),
        "target": _Key("columns of the file, or the name of a .npy file", _is_names),
        "validation": _Key("a part of the rows between 0 and 1", lambda v: _is_number(v) and 0 < v < 1, False, 0.2),
        "seed": _Key("an int of 0 or more", lambda v: type(v) is int and v >= 0, False, 0),
    },
    "model": {
        "hidden": _Key("a list of widths of 1 or more", _is_widths, True, [32]),
        "activation": _Key(f"an activation of {', '.join(_ACTIVATIONS)}", _ACTIVATIONS.__contains__, True, "ReLU"),
    },
    "training": {
        "loss": _Key(f"a loss of {', '.join(_LOSSES)}", _LOSSES.__contains__, True, "MSELoss"),
        "optimizer": _Key(f"an optimiser of {', '.join(_OPTIMIZERS)}", _OPTIMIZERS.__contains__, True, "Adam"),
        "lr": _Key("a number of 0 or more", _is_number, True, 1e-3),
        "epochs": _Key("an int of 1 or more", _is_count, True, 100),
        "patience": _Key("an int of 0 or more", lambda v: type(v) is int and v >= 0, True, 0),
        "mini_batch_size": _Key("an int of 1 or more", _is_count, True, 32),
        "seeds": _Key("an int of 0 or more", lambda v: type(v) is int and v >= 0, True, 0),
    },
    "output": {"folder": _Key("the name of a folder", _is_text, False, "results")},
}


def read_sweep_file(path: Path) -> SweepFile:
    """Read and check the file.

    Raises
    ------
    SweepFileError
        For a file that is no TOML, or with a key or value that a sweep does not take.
    OSError
    """
    toml = _toml()
    try:
        text = path.read_text(encoding="utf-8")
        content = toml.loads(text)
    except (toml.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SweepFileError(f"{path}: {error}") from error
    for section, keys in content.items():
        if section not in _SECTIONS or not isinstance(keys, dict):
            where = f"{path}, line {_line_of(text, section)}"
            raise SweepFileError(f"{where}: a sweep takes the sections {_listed(_SECTIONS)}, got {section!r}")
        for key, value in keys.items():
            _check(path, text, section, key, value)
    values = {
        section: {key: content.get(section, {}).get(key, row.default) for key, row in rows.items()}
        for section, rows in _SECTIONS.items()
    }
    data = values["data"]
    if (data["file"] is None) == (data["input"] is None) or data["target"] is None:
        where, given = f"{path}, line {_line_of(text, 'data')}", _listed(content.get("data", {}))
        raise SweepFileError(f"{where}: [data] takes file and target, or input and target, got {given}")
    swept = {**values["model"], **values["training"]}
    columns = [_each(value, key) for key, value in swept.items()]
    settings = [dict(zip(swept, combination, strict=True)) for combination in product(*columns)]
    for setting in settings:
        setting["seed"] = setting.pop("seeds")
    return SweepFile(path, data, settings, path.parent / values["output"]["folder"])


def _check(path: Path, text: str, section: str, key: str, value: Any) -> None:
    """Raise SweepFileError unless ``key`` is one of ``section`` and takes ``value``."""
    row = _SECTIONS[section].get(key)
    where = f"{path}, line {_line_of(text, section, key)}"
    if row is None:
        raise SweepFileError(f"{where}: [{section}] takes {_listed(_SECTIONS[section])}, got {key!r}")
    given = _each(value, key) if row.is_swept else [value]
    for one in given:
        if not row.fits(one):
            also = ", or a list of these" if row.is_swept else ""
            raise SweepFileError(f"{where}: {key} takes {row.takes}{also}, got {one!r}")
    if not given:
        raise SweepFileError(f"{where}: {key} takes one value or more, got none")


def _each(value: Any, key: str) -> list[Any]:
    """Return the values that a key takes one after the other."""
    if key == "hidden":
        return value if isinstance(value, list) and any(isinstance(one, list) for one in value) else [value]
    return value if isinstance(value, list) else [value]


def _line_of(text: str, section: str, key: str | None = None) -> int:
    """Return the line, from 1, at which a section or a key of it begins; 1 if it is written in another way."""
    found, current = 1, ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+\s*\"?([^\]\"]+?)\"?\s*\]", line)
        if header:
            current = header[1]
            if current == section:
                found = number
        name = re.match(r"\s*\"?([\w.-]+)\"?\s*=", line)
        if name and ((current == section and name[1] == key) or (not current and name[1] == section)):
            return number
    return found


def _listed(names: Any) -> str:
    return ", ".join(names) or "nothing"


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib
    try:
        import tomli
    except ImportError as error:
        raise ImportError('python -m fastbp sweep needs tomli here: pip install "fastbp[sweep]"') from error
    return tomli

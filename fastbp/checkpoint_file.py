"""The file of a checkpoint: safetensors, with a description in JSON and a checksum over both.

Nothing in it is ever run: it holds arrays and text.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.arrays import FLOAT_DTYPES, Array

FORMAT = "1"
_LONGEST_HEADER = 100_000_000  # as safetensors itself
_LONGEST_INTEGER = 40  # digits: a generator's state has 39


class CheckpointError(ValueError):
    """A file is not a whole checkpoint of fastbp, or does not fit what it is to be loaded into."""


def pack(tensors: dict[str, Array], content: dict[str, Any]) -> bytes:
    """Return a file's bytes for float arrays and a description that JSON can hold."""
    text = json.dumps(content, allow_nan=False)
    metadata = {"format": "fastbp", "version": FORMAT, "content": text, "sha256": _checksum(tensors, text)}
    data: bytes = import_safetensors("save").save(tensors, metadata)
    return data


def unpack(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return arrays and description from a file, or raise CheckpointError; OSError where it cannot be read."""
    safetensors = import_safetensors("load")
    data = _read(path)
    size = int.from_bytes(data[:8], "little")
    try:
        metadata = _parse(data[8 : 8 + size])["__metadata__"]
        known = metadata["format"] == "fastbp"
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a checkpoint of fastbp") from error
    if not known:
        raise CheckpointError(f"{path} is not a checkpoint of fastbp")
    if metadata.get("version") != FORMAT:
        raise CheckpointError(f"{path} has format {metadata.get('version')!r}; this fastbp reads format {FORMAT!r}")
    try:
        tensors = safetensors.load(data)
        text = metadata["content"]
        whole = metadata["sha256"] == _checksum(tensors, text)
    except Exception as error:  # of whatever kind safetensors' own reader raises
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not whole:
        raise CheckpointError(f"{path} is damaged: its checksum is another")
    try:
        content = _parse(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict) or any(array.dtype not in FLOAT_DTYPES for array in tensors.values()):
        raise CheckpointError(f"{path} holds what fastbp does not write")
    return tensors, content


def import_safetensors(caller: str) -> Any:
    """Return ``safetensors.numpy``."""
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(f'fastbp.{caller} needs safetensors: pip install "fastbp[checkpoint]"') from error
    return safetensors.numpy


def _read(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for its writer
        raise CheckpointError(f"{path} is not a file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        if len(start) < 8 or int.from_bytes(start, "little") > min(size - 8, _LONGEST_HEADER):
            raise CheckpointError(f"{path} is not a checkpoint of fastbp, or is cut off")
        return start + file.read()


def _checksum(tensors: dict[str, Array], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"{name!r} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return digest.hexdigest()


def _parse(text: str | bytes) -> Any:
    """Read JSON as fastbp writes it: no name twice, no NaN, no endless numbers."""
    return json.loads(text, object_pairs_hook=_without_twins, parse_constant=_refuse, parse_int=_short_integer)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _short_integer(digits: str) -> int:
    if len(digits) > _LONGEST_INTEGER:
        raise ValueError("a number of too many digits")
    return int(digits)

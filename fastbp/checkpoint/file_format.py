"""The file of a checkpoint: safetensors, with a description in JSON and a checksum over both.

Nothing in it is ever run: it holds arrays and text. Files of safetensors that other programs wrote are read as well.
Format 2 tells the modes of modules, which format 1 does not; both are read, and what a file lacks has its default.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fastbp.validation.arrays import FLOAT_DTYPES, Array

_FORMATS = ("1", "2")  # the last is written
_LONGEST_HEADER = 100_000_000  # as safetensors itself
_LONGEST_INTEGER = 40  # digits: a generator's state has 39
_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BOOL": np.bool_,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8
}  # fmt: skip

T = TypeVar("T")


class CheckpointError(ValueError):
    """A file is not a whole checkpoint of fastbp, or does not fit what it is to be loaded into."""


def pack(tensors: dict[str, Array], content: dict[str, Any]) -> bytes:
    """Return a file's bytes for float arrays and a description that JSON can hold."""
    text = json.dumps(content, allow_nan=False)
    metadata = {"format": "fastbp", "version": _FORMATS[-1], "content": text, "sha256": _checksum(tensors, text)}
    data: bytes = import_safetensors("save").numpy.save(tensors, metadata)
    return data


def unpack(path: Path) -> tuple[dict[str, Array], dict[str, Any] | None]:
    """Return arrays and description from a file; None for the description where another program wrote it.

    Raises
    ------
    CheckpointError
        If it is no whole file of safetensors, or one of fastbp that is not as it was written.
    OSError
        Where it cannot be read.
    """
    safetensors = import_safetensors("load")
    data = _read(path)
    metadata = _read_metadata(data, path)
    is_own = metadata.get("format") == "fastbp"
    if not is_own and {"content", "sha256"} <= metadata.keys():  # to be read as another program's it must be that
        raise CheckpointError(f"{path} is damaged: its format is {metadata.get('format')!r}")
    if is_own and metadata.get("version") not in _FORMATS:
        known = " and ".join(_FORMATS)
        raise CheckpointError(
            f"{path} has format {metadata.get('version')!r}; this fastbp reads formats {known}: install a newer one"
        )
    try:
        tensors = {name: _to_array(name, stored) for name, stored in safetensors.deserialize(data)}
        content = _read_content(metadata, tensors) if is_own else None
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return tensors, content


def import_safetensors(caller: str) -> Any:
    """Return the package ``safetensors``, with its module ``numpy``."""
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(f'fastbp.{caller} needs safetensors: pip install "fastbp[checkpoint]"') from error
    return safetensors


def require_field(content: Any, name: str, kind: type[T]) -> T:
    """Return ``content[name]`` if it is just of this type, or raise CheckpointError, TypeError or KeyError."""
    value = content[name]
    if type(value) is not kind:
        raise CheckpointError(f"the file's {name} is no {kind.__name__}")
    return value


def _read(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for its writer
        raise CheckpointError(f"{path} is not a file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        if len(start) < 8 or int.from_bytes(start, "little") > min(size - 8, _LONGEST_HEADER):
            raise CheckpointError(f"{path} is not a file of safetensors, as fastbp.save writes it, or is cut off")
        return start + file.read()


def _read_metadata(data: bytes, path: Path) -> dict[str, Any]:
    """Return what a file says beside its arrays, empty if nothing."""
    size = int.from_bytes(data[:8], "little")
    try:
        header = _parse(data[8 : 8 + size])
        metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a file of safetensors, as fastbp.save writes it: {error}") from error
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path} is not a file of safetensors, as fastbp.save writes it")
    return metadata


_WRITTEN = (*FLOAT_DTYPES, np.dtype(np.int64))  # integers count mini-batches


def _to_array(name: str, stored: dict[str, Any]) -> Array:
    dtype, shape, data = stored["dtype"], stored["shape"], stored["data"]
    if dtype == "BF16":  # the upper half of a float32; NumPy has no such dtype
        upper = np.frombuffer(data, np.uint16).astype(np.uint32)
        return (upper << 16).view(np.float32).reshape(shape)
    if dtype not in _DTYPES:
        raise CheckpointError(f"it holds {name!r} as {dtype}; write it as floats of 16 bits or more")
    return np.frombuffer(data, _DTYPES[dtype]).reshape(shape)


def _read_content(metadata: dict[str, str], tensors: dict[str, Array]) -> dict[str, Any]:
    """Return the description in a file of fastbp, or raise ValueError or KeyError where it is not as it was written."""
    text = metadata["content"]
    if metadata["sha256"] != _checksum(tensors, text):
        raise CheckpointError("its checksum is another, so it is damaged")
    content = _parse(text)
    if not isinstance(content, dict) or any(array.dtype not in _WRITTEN for array in tensors.values()):
        raise CheckpointError("it holds what fastbp does not write")
    return content


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

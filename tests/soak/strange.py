"""Arrays as nobody should hand them over, and others that only look so."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import joblib
import numpy
from helpers import LAYOUTS, draw


class Own(numpy.ndarray):
    pass


def _broken_by(dtype):
    return lambda shape, own: numpy.zeros(shape, dtype)


# Each takes a shape and a float dtype and returns something of which the library must say that it does not take it.
REFUSED = {
    "list": lambda shape, own: numpy.zeros(shape).tolist(),
    "None": lambda shape, own: None,
    "text": lambda shape, own: "array",
    "number": lambda shape, own: 1.5,
    "scalar": lambda shape, own: own.type(1.5),
    "memoryview": lambda shape, own: memoryview(numpy.zeros(shape, own)),
    "big-endian": lambda shape, own: numpy.zeros(shape, own.newbyteorder(">")),
    "other float": lambda shape, own: numpy.zeros(shape, "f8" if own == numpy.float32 else "f4"),
    "half": _broken_by("f2"),
    "long double": _broken_by(numpy.longdouble),
    "int": _broken_by("i8"),
    "bool": _broken_by(bool),
    "complex": _broken_by("c8"),
    "object": _broken_by(object),
    "text array": _broken_by("U3"),
    "dates": _broken_by("M8[s]"),
    "structured": _broken_by([("a", "f4"), ("b", "f4")]),
    "masked": lambda shape, own: numpy.ma.masked_array(numpy.zeros(shape, own), mask=True),
    "one more column": lambda shape, own: numpy.zeros((*shape[:-1], shape[-1] + 1), own),
    "no columns": lambda shape, own: numpy.zeros((*shape[:-1], 0), own),
    "no dimension": lambda shape, own: numpy.zeros((), own),
}


def _zero_strides(array):
    return numpy.lib.stride_tricks.as_strided(array[:1, :1], array.shape, (0, 0), writeable=False)


def _negative_strides(array):
    return numpy.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1]


def _memory_map(array):
    """A file that nobody may write, and that is gone from its folder."""
    with tempfile.TemporaryFile() as file:
        numpy.save(file, array)
        offset = file.tell() - array.nbytes
        return numpy.memmap(file, array.dtype, "r", offset, array.shape) if array.size else array


def of_joblib(value):
    """The same as joblib hands it to its workers: arrays as memory maps."""
    with tempfile.TemporaryDirectory() as folder:
        joblib.dump(value, Path(folder) / "value")
        return joblib.load(Path(folder) / "value", mmap_mode="r")


def out_of_band(value):
    """The same through protocol 5, as Ray does it: arrays lie in bytes."""
    buffers = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers])


# Each takes an array of two dimensions and returns one that the library must read right: by the values it now has.
READ = {
    **LAYOUTS,
    "own class": lambda array: array.view(Own),
    "zero strides": _zero_strides,
    "negative strides": _negative_strides,
    "named in metadata": lambda array: array.astype(numpy.dtype(array.dtype, metadata={"unit": "m"})),
    "part of bytes": lambda array: numpy.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
    "memory map": _memory_map,
    "joblib's memory map": of_joblib,
    "out of band": lambda array: out_of_band(numpy.ascontiguousarray(array)),
    "transposed twice": lambda array: numpy.swapaxes(numpy.ascontiguousarray(array.T), 0, 1),
}

VALUES = {
    "normal": lambda shape, own, seed: draw(shape, own, seed),
    "zeros": lambda shape, own, seed: numpy.zeros(shape, own),
    "denormal": lambda shape, own, seed: draw(shape, own, seed) * numpy.finfo(own).tiny,
}
WILD = {
    "NaN": lambda shape, own, seed: numpy.where(draw(shape, own, seed) > 1, numpy.nan, 1).astype(own),
    "infinite": lambda shape, own, seed: numpy.where(draw(shape, own, seed) > 1, numpy.inf, 1).astype(own),
    "huge": lambda shape, own, seed: draw(shape, own, seed).clip(-3, 3) * (numpy.finfo(own).max / 4),
}


def fill(array, values):
    """Write into an array that may be read-only or have zero strides; say whether it could be written."""
    if not array.flags.writeable or 0 in array.strides:
        return False
    array[...] = values
    return True

"""Ways to another model of the same values: copies, pickles, files and PyTorch; and which models each takes."""

from __future__ import annotations

import copy
import pickle
import tempfile
from pathlib import Path

import numpy
from kinds import dtype_of, has_own
from strange import of_joblib, out_of_band

import fastbp
from fastbp import nn


def _any(model):
    return True


def _of_the_library(model):
    return not has_own(model)


def _known_to_torch(model):
    return not has_own(model) and not any(isinstance(module, nn.Residual) for module in model.modules())


def through_a_file(model):
    with tempfile.TemporaryDirectory() as folder:
        fastbp.save(Path(folder) / "model.safetensors", model)
        return fastbp.load(Path(folder) / "model.safetensors").model


def in_other_dtype(model):
    """A new model of the other dtype that loads the state of this one."""
    other = "f8" if dtype_of(model) == "f4" else "f4"
    twin = copy.deepcopy(model).to(dtype=numpy.dtype(other))
    for parameter in twin.parameters():
        parameter.data[...] = 0
    twin.load_state_dict(model.state_dict())
    return twin


# A function of a model, and which models it takes.
WAYS = {
    "copy": (copy.copy, _any),
    "deepcopy": (copy.deepcopy, _any),
    "dtype": (in_other_dtype, _any),
    "out of band": (out_of_band, _any),
    "memory map": (of_joblib, _any),
    "file": (through_a_file, _of_the_library),
    "torch": (lambda model: fastbp.from_torch(fastbp.to_torch(model)), _known_to_torch),
    **{f"pickle {n}": (lambda model, n=n: pickle.loads(pickle.dumps(model, n)), _any) for n in range(6)},
}

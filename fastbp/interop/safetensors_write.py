"""Parameters as a file of safetensors that PyTorch loads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fastbp.checkpoint.atomic_write import write_atomically
from fastbp.checkpoint.file_format import import_safetensors
from fastbp.checkpoint.ties import find_ties
from fastbp.interop.leaving import network_of


def to_safetensors(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a model's parameters and buffers to ``path`` under PyTorch's names, as ``safetensors.torch.save_model``.

    The same network in PyTorch takes them by ``safetensors.torch.load_model(module, path)``, or where no layers share a
    parameter by ``module.load_state_dict(safetensors.torch.load_file(path))``; ``fastbp.load(path, model)`` fills a
    model of fastbp. Needs ``pip install "fastbp[checkpoint]"``. ``fastbp.save`` writes what a training goes on from.

    Parameters
    ----------
    model : Module, or a fitted MLPClassifier or MLPRegressor
        With modules of your own as well. A parameter of several names is written under the first, and the metadata
        tells the others. That of an estimator holds its classes, as JSON under ``"fastbp"``.
    path : str or path
        The file is written whole or not at all.

    Raises
    ------
    TypeError
        For what is no model.
    ImportError
        Without the package ``safetensors``.
    OSError
        Where the file cannot be written; what was there is left.
    """
    safetensors = import_safetensors("to_safetensors")
    network, facts = network_of(model, "to_safetensors")
    others = {name: names[0] for names in find_ties(network) for name in names[1:]}
    tensors = {name: array for name, array in network.state_dict().items() if name not in others}
    metadata = {**others, "format": "pt", **({"fastbp": json.dumps(facts)} if facts else {})}
    write_atomically(Path(path), safetensors.numpy.save(tensors, metadata))

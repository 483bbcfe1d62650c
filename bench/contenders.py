"""The libraries that are compared, each a file of ``bench/peers``.

A peer is a module with ``set_threads(threads)``, called before anything else, and a function for each kind of workload
that it can run, named after the kind: ``training(workload)``, ``predict(workload)``, ... Each sets everything up and
returns a ``Contender``, or None. A new peer is a new file and a line in ``PEERS``.

``bench/peers`` has no ``__init__.py``: asv imports every module of every package that it finds below ``bench``, and
would end at a library that is not installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Peer:
    label: str
    module: str
    package: str  # what must be installed


@dataclass(frozen=True)
class Contender:
    """A library set up for a workload.

    ``run(times)`` does the work so often, for a training so many epochs more, and returns when it is done.
    ``weights()`` returns, for a training, weights (o, i) and biases in PyTorch's order, and for a kernel what it has
    written; it is None where nothing is compared. ``flop`` counts the additions and multiplications of one run where
    only the library knows them, and is 0 elsewhere.
    """

    run: Callable[[int], object]
    weights: Callable[[], list[npt.NDArray[Any]]] | None = None
    flop: int = 0


PEERS = {
    "fastbp": Peer("fastbp", "bench.peers.fastbp_engine", "fastbp"),
    "modules": Peer("fastbp, module by module", "bench.peers.fastbp_modules", "fastbp"),
    "torch": Peer("PyTorch eager", "bench.peers.torch_eager", "torch"),
    "torch.func": Peer("PyTorch compiled", "bench.peers.torch_func", "torch"),
    "sklearn": Peer("scikit-learn", "bench.peers.sklearn_mlp", "sklearn"),
    "jax": Peer("JAX scan", "bench.peers.jax_scan", "jax"),
}
OURS = ("fastbp", "modules")
# On a GPU, where there is one; for trainings only.
GPU_PEERS = {
    "torch gpu": Peer("PyTorch, GPU", "bench.peers.torch_gpu", "torch"),
    "jax gpu": Peer("JAX scan, GPU", "bench.peers.jax_gpu", "jax"),
}


def load(name: str) -> ModuleType:
    return import_module((PEERS | GPU_PEERS)[name].module)


def sampled(weights: list[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """Return up to some 1,000 numbers of each array: enough to tell whether two libraries did the same training."""
    return np.concatenate([np.ravel(w)[:: w.size // 1000 + 1].astype(np.float64) for w in weights])

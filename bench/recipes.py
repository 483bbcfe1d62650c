"""Trainings as people run them: optimisers with state, losses of classes and logits, normalisation, schedules.

Like the workloads of ``bench.workloads``, pure descriptions and the data that they mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bench.workloads import Array, Layers, Workload, layers


@dataclass(frozen=True)
class Recipe(Workload):
    """A training by mini-batches of one size, rows in their order; a step is a mini-batch.

    ``loss`` is "mse", "cross entropy", "bce with logits" or "huber"; ``optimizer`` "adam", "adamw" or "rmsprop", each
    with PyTorch's defaults but for ``lr``. ``layer_norm`` stands behind each hidden ``Linear``, dropout behind its
    activation. ``clips`` the norm of the gradient to 1, ``anneals`` the learning rate by a cosine over each run's
    steps.
    """

    kind = "recipe"
    widths: tuple[int, ...] = ()
    activation: str = "relu"
    loss: str = "mse"
    optimizer: str = "adam"
    samples: int = 0
    mini_batch: int = 0
    lr: float = 1e-3
    layer_norm: bool = False
    dropout: float = 0.0
    clips: bool = False
    anneals: bool = False

    @property
    def steps(self) -> int:
        return self.samples // self.mini_batch

    @property
    def flop(self) -> int:
        sizes = [i * o for i, o in pairwise(self.widths)]
        return 2 * self.mini_batch * (3 * sum(sizes) - sizes[0])

    def data(self) -> tuple[Array, Array]:
        """Return inputs (n, i) and targets: values (n, o), or classes (n,) for the cross entropy."""
        input, outputs = self.normal(1, self.samples, self.widths[0]), self.widths[-1]
        if self.loss == "cross entropy":
            return input, self.rng(2).integers(outputs, size=self.samples)
        target = self.normal(2, self.samples, outputs)
        return input, (target > 0).astype(self.dtype) if self.loss == "bce with logits" else target

    def layers(self) -> Layers:
        return layers(self.widths, self.dtype, self.rng(3))


RECIPES = (
    Recipe("2-25-25-25-2 ReLU, MSE, Adam, batch 50", widths=(2, 25, 25, 25, 2), samples=1000, mini_batch=50),
    Recipe(
        "64-32-10 ReLU, cross entropy, Adam, batch 32",
        widths=(64, 32, 10), loss="cross entropy", samples=1792, mini_batch=32,
    ),
    Recipe(
        "64-100-10 ReLU, cross entropy, Adam, batch 200",
        widths=(64, 100, 10), loss="cross entropy", samples=1600, mini_batch=200,
    ),
    Recipe(
        "20-64-64-1 GELU, layer norm, dropout, BCE, AdamW, cosine, clipping, batch 128",
        widths=(20, 64, 64, 1), activation="gelu", loss="bce with logits", optimizer="adamw", samples=2560,
        mini_batch=128, layer_norm=True, dropout=0.1, clips=True, anneals=True,
    ),
    Recipe(
        "13-64-64-1 SiLU, Huber, RMSprop, batch 64",
        widths=(13, 64, 64, 1), activation="silu", loss="huber", optimizer="rmsprop", samples=1280, mini_batch=64,
    ),
)  # fmt: skip


def cosine(steps: int, lr: float) -> Array:
    """Return the learning rates of so many steps, from ``lr`` down to 0."""
    return lr * 0.5 * (1 + np.cos(np.pi * np.arange(steps) / steps))

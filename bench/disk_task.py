"""The task of the original project, and how each library trains it.

Points of the unit square are to be told inside or outside of a disk, by a network 2-25-25-25-2 with ReLU between its
layers, the squared error summed over a mini-batch of 50, and SGD. A library takes part with one function from a
``Task`` to a ``Run``, listed in ``LIBRARIES``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

import fastbp
from bench.peers.torch_eager import torch_epoch
from fastbp import nn, optim

WIDTHS = (2, 25, 25, 25, 2)
POINTS = 1000  # in each of the training, validation and test sets
MINI_BATCH = 50
LR = 1e-3
SEED = 2019

Split: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Task:
    """One run's data, the same for every library: pairs of inputs (1000, 2) and one-hot targets (1000, 2)."""

    seed: int
    train: Split
    validation: Split
    test: Split

    @classmethod
    def draw(cls, run: int) -> Task:
        rng = np.random.default_rng((SEED, run))
        return cls(run, *(fastbp.datasets.disk(POINTS, rng) for _ in range(3)))


@dataclass(frozen=True)
class Run:
    """What one training gave: a value for each epoch, the test accuracy, the seconds of the training alone."""

    train_loss: npt.NDArray[np.float64]
    val_loss: npt.NDArray[np.float64]
    val_accuracy: npt.NDArray[np.float64]
    test_accuracy: float
    seconds: float


class Library(Protocol):
    """Trains the task from new weights, drawn from ``task.seed``, and calls ``progress`` with epochs gone by."""

    def __call__(self, task: Task, epochs: int, progress: Callable[[int], object]) -> Run: ...


def train_fastbp(
    task: Task,
    epochs: int,
    progress: Callable[[int], object],
    *,
    inits: tuple[nn.init.Init, ...] = ("default",) * 4,
    lr: float = LR,
) -> Run:
    """Train with fastbp; ``inits`` has the initialiser of each layer."""
    rng = np.random.default_rng((SEED, task.seed, 1))
    layers: list[nn.Module] = []
    for (inputs, outputs), init in zip(pairwise(WIDTHS), inits, strict=True):
        layers += [nn.Linear(inputs, outputs, init=init, rng=rng), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])

    history = fastbp.train_model(
        model,
        *task.train,
        *task.validation,
        nn.MSELoss(reduction="sum"),
        optim.SGD(model.parameters(), lr=lr),
        epochs,
        MINI_BATCH,
        progress=False,
    )
    progress(epochs)
    series = history.as_arrays()
    return Run(
        series["train_loss"],
        series["val_loss"],
        series["val_accuracy"],
        test_accuracy=fastbp.compute_accuracy(model, *task.test),
        seconds=history.seconds,
    )


def train_torch(task: Task, epochs: int, progress: Callable[[int], object]) -> Run:
    """Train with PyTorch on one thread, in the loop that one writes for it: the original's, and ``train_model``'s."""
    torch.set_num_threads(1)
    torch.manual_seed(task.seed)
    layers: list[torch.nn.Module] = []
    for inputs, outputs in pairwise(WIDTHS):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    criterion = torch.nn.MSELoss(reduction="sum")
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    (train_input, train_target), (val_input, val_target), (test_input, test_target) = (
        tuple(map(torch.from_numpy, split)) for split in (task.train, task.validation, task.test)
    )

    def accuracy(output: torch.Tensor, target: torch.Tensor) -> float:
        return float((output.argmax(1) == target.argmax(1)).float().mean())

    train_losses, val_losses, val_accuracies = [], [], []
    start = time.perf_counter()
    for _ in range(epochs):
        train_losses.append(torch_epoch(model, criterion, optimizer, train_input, train_target, MINI_BATCH))
        with torch.no_grad():
            output = model(val_input)
            val_losses.append(criterion(output, val_target).item())
            val_accuracies.append(accuracy(output, val_target))
        progress(1)
    seconds = time.perf_counter() - start

    with torch.no_grad():
        test_accuracy = accuracy(model(test_input), test_target)
    return Run(np.array(train_losses), np.array(val_losses), np.array(val_accuracies), test_accuracy, seconds)


LIBRARIES: dict[str, Library] = {"fastbp": train_fastbp, "PyTorch": train_torch}


def warm_up(library: Library) -> float:
    """Train for two epochs, so that nothing is compiled or loaded within a time that counts; return the seconds."""
    start = time.perf_counter()
    library(Task.draw(0), 2, lambda epochs: None)
    return time.perf_counter() - start


def repeat(library: Library, label: str, runs: int, epochs: int) -> list[Run]:
    """Train ``runs`` times, each with new data and new weights, behind one progress bar over all epochs."""
    with tqdm(desc=label, total=runs * epochs, unit="epoch", mininterval=0.5) as bar:
        return [library(Task.draw(run), epochs, bar.update) for run in range(runs)]

"""What is measured: pure descriptions, the same for every library, and the data that they mean.

``make speed``, the asv suite and ``make compare`` take their workloads from the lists at the end: one that is added to
``TRAININGS`` or to ``KERNELS`` is measured by all of them, in all peers. ``kind`` names the function of a peer that
runs it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

SEED = 2019

Array = npt.NDArray[Any]
Layers = list[tuple[Array, Array]]


@dataclass(frozen=True)
class Workload:
    name: str
    dtype: str = "float32"
    kind: ClassVar[str]

    @property
    def steps(self) -> int:
        """What a peer does at once, in the units that times are given for."""
        return 1

    @property
    def flop(self) -> int:
        """Additions and multiplications of a step's matrix products; 0 where it is no measure or not known here."""
        return 0

    def rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng((SEED, stream))

    def normal(self, stream: int, *shape: int) -> Array:
        return self.rng(stream).standard_normal(shape).astype(self.dtype)


AnyWorkload = TypeVar("AnyWorkload", bound=Workload)


def at(workload: AnyWorkload, dtype: str) -> AnyWorkload:
    """Return ``workload`` in ``dtype``."""
    return replace(workload, dtype=dtype)


@dataclass(frozen=True)
class Data:
    """Inputs and targets, a row a sample; the last two are None without validation."""

    train_input: Array
    train_target: Array
    val_input: Array | None
    val_target: Array | None


def layers(widths: tuple[int, ...], dtype: str, rng: np.random.Generator) -> Layers:
    """Return a weight (o, i) and a bias (o,) for each layer, in the range of PyTorch's defaults."""
    drawn = []
    for i, o in pairwise(widths):
        bound = 1 / np.sqrt(i)
        weight, bias = (rng.uniform(-bound, bound, shape).astype(dtype) for shape in ((o, i), (o,)))
        drawn.append((weight, bias))
    return drawn


@dataclass(frozen=True)
class Training(Workload):
    """Mini-batch SGD on the squared error, rows in their order. A peer trains whole epochs; a step is a mini-batch."""

    kind = "training"
    widths: tuple[int, ...] = ()
    activation: str = "relu"
    samples: int = 0
    mini_batch: int = 0
    lr: float = 1e-3
    reduction: str = "mean"
    validation: bool = False
    disk: bool = False  # the original's data instead of random numbers

    @property
    def steps(self) -> int:
        return -(-self.samples // self.mini_batch)

    @property
    def flop(self) -> int:
        """Forward, gradients of weights and, but in the first layer, of inputs; a step's part of the validation."""
        sizes = [i * o for i, o in pairwise(self.widths)]
        validated = self.samples // self.steps if self.validation else 0
        return 2 * self.mini_batch * (3 * sum(sizes) - sizes[0]) + 2 * validated * sum(sizes)

    def data(self) -> Data:
        if self.disk:
            import fastbp  # here, for another library's process does not need it

            rng = self.rng(0)
            splits = [fastbp.datasets.disk(self.samples, rng) for _ in range(1 + self.validation)]
            arrays = [array.astype(self.dtype) for split in splits for array in split]
        else:
            arrays = [self.normal(1, self.samples, self.widths[0]), self.normal(2, self.samples, self.widths[-1])]
        return Data(*arrays, *[None] * (4 - len(arrays)))

    def layers(self) -> Layers:
        return layers(self.widths, self.dtype, self.rng(3))


@dataclass(frozen=True)
class Online(Training):
    """The same, where each mini-batch comes by itself: a call for each."""

    kind = "online"


@dataclass(frozen=True)
class Predict(Workload):
    """The prediction for ``samples`` at once, input and output as the library's own arrays."""

    kind = "predict"
    widths: tuple[int, ...] = ()
    activation: str = "tanh"
    samples: int = 1

    def layers(self) -> Layers:
        return layers(self.widths, self.dtype, self.rng(3))

    def sample(self) -> Array:
        return self.normal(1, self.samples, self.widths[0])


@dataclass(frozen=True)
class Linear(Workload):
    """``output = input @ weight.T + bias`` into an array that is there already."""

    kind = "linear"
    n: int = 0
    i: int = 0
    o: int = 0

    @property
    def flop(self) -> int:
        return 2 * self.n * self.i * self.o

    def arrays(self) -> tuple[Array, Array, Array]:
        """Return input (n, i), weight (o, i) and bias (o,)."""
        return self.normal(1, self.n, self.i), self.normal(2, self.o, self.i), self.normal(3, self.o)


@dataclass(frozen=True)
class LinearBackward(Linear):
    """The gradients of input, weight and bias, added to or written into arrays that are there already."""

    kind = "linear_backward"

    @property
    def flop(self) -> int:
        return 2 * super().flop

    def grad_output(self) -> Array:
        return self.normal(4, self.n, self.o)


@dataclass(frozen=True)
class Product(Linear):
    """One product of a layer with ``i`` inputs and ``o`` outputs over ``n`` rows, into an array that is there already.

    ``of`` names what it computes: "output" is ``input @ weight.T``, "grad_input" ``grad_output @ weight``;
    ``grad_output.T @ input`` is added to "grad_weight". No bias.
    """

    kind = "product"
    of: str = ""

    def arrays(self) -> tuple[Array, Array, Array]:
        """Return what is multiplied, and the array for the result, zeros: rows and columns as PyTorch lays them."""
        shapes = {"input": (self.n, self.i), "weight": (self.o, self.i), "output": (self.n, self.o)}
        kinds = {"output": ("input", "weight"), "grad_input": ("output", "weight"), "grad_weight": ("output", "input")}
        first, second = kinds[self.of]
        result = np.zeros(shapes[self.of.removeprefix("grad_")], self.dtype)
        return self.normal(1, *shapes[first]), self.normal(2, *shapes[second]), result


@dataclass(frozen=True)
class Activation(Workload):
    """``function`` of a block, then a gradient times its derivative."""

    kind = "activation"
    function: str = ""
    size: int = 0

    def arrays(self) -> tuple[Array, Array]:
        """Return input and the output's gradient, each of shape (size,)."""
        return self.normal(1, self.size), self.normal(2, self.size)


@dataclass(frozen=True)
class SquaredError(Workload):
    """The sum of squared differences with its gradient."""

    kind = "squared_error"
    n: int = 0
    o: int = 0

    def arrays(self) -> tuple[Array, Array]:
        """Return prediction and target, each of shape (n, o)."""
        return self.normal(1, self.n, self.o), self.normal(2, self.n, self.o)


@dataclass(frozen=True)
class Descent(Workload):
    """A step of SGD over a vector of parameters."""

    kind = "descent"
    size: int = 0

    def arrays(self) -> tuple[Array, Array]:
        """Return parameters and their gradient, each of shape (size,)."""
        return self.normal(1, self.size), 1e-6 * self.normal(2, self.size)


@dataclass(frozen=True)
class Tanh(Workload):
    """tanh of a block that stays in cache, into an array that is there already."""

    kind = "tanh"
    size: int = 0

    def block(self) -> Array:
        return 3 * self.normal(1, self.size)


@dataclass(frozen=True)
class Tile(Workload):
    """The register tile over operands in L1: the arithmetic limit of a core, or of ``cores`` of them at once.

    How large a tile is depends on the CPU, so ``Contender.flop`` counts.
    """

    kind = "tile_limit"
    k: int = 0
    cores: int = 1


DISK = Training(
    "2-25-25-25-2 ReLU, batch 50",
    widths=(2, 25, 25, 25, 2),
    samples=1000,
    mini_batch=50,
    reduction="sum",
    disk=True,
)
ORIGINAL = replace(DISK, name="2-25-25-25-2 ReLU, batch 50, validation", validation=True)
TRAININGS = (
    ORIGINAL,
    DISK,
    Training("64-64-64-8 ReLU, batch 64", widths=(64, 64, 64, 8), samples=1280, mini_batch=64),
    Training("784-128-10 ReLU, batch 128", widths=(784, 128, 10), samples=1280, mini_batch=128),
    Training("784-512-512-10 ReLU, batch 128", widths=(784, 512, 512, 10), samples=1280, mini_batch=128),
    Training("784-1024-1024-10 ReLU, batch 1024", widths=(784, 1024, 1024, 10), samples=2048, mini_batch=1024),
    Training(
        "4-32-16-4 tanh, full batch 10,000", widths=(4, 32, 16, 4), activation="tanh", samples=10_000, mini_batch=10_000
    ),
)
ONLINE = Online("6-64-8-4 ReLU, a call for each sample", widths=(6, 64, 8, 4), samples=64, mini_batch=1)
SWEEP_WIDTHS = (8, 16, 31, 32, 33, 45, 46, 64, 100, 128, 256, 512)
SWEEP = tuple(
    Training(f"10-{w}-{w}-10 ReLU, batch 128", widths=(10, w, w, 10), samples=1280, mini_batch=128)
    for w in SWEEP_WIDTHS
)
LINEAR_SHAPES = ((50, 25, 25), (64, 64, 64), (128, 784, 128), (256, 512, 512), (1024, 1024, 1024))
LINEARS = tuple(Linear(f"linear_forward ({n}, {i}, {o})", n=n, i=i, o=o) for n, i, o in LINEAR_SHAPES)
TANH = Tanh("tanh of 16,384", size=16_384)
KERNELS: tuple[Workload, ...] = (
    *LINEARS,
    *(LinearBackward(f"linear_backward ({n}, {i}, {o})", n=n, i=i, o=o) for n, i, o in LINEAR_SHAPES),
    TANH,
    *(
        Activation(f"{function} and derivative, {size:,}", function=function, size=size)
        for function in ("relu", "tanh", "sigmoid")
        for size in (1250, 16_384)
    ),
    *(SquaredError(f"squared error and gradient ({n}, {o})", n=n, o=o) for n, o in ((50, 2), (1024, 10))),
    *(Descent(f"SGD step over {size:,}", size=size) for size in (1427, 100_000)),
)
PREDICT = Predict("predict, one sample, 6-64-8-4 tanh", widths=(6, 64, 8, 4))
PREDICTIONS = (
    PREDICT,
    Predict("predict, 1,000 samples, 6-64-8-4 tanh", widths=(6, 64, 8, 4), samples=1000),
    Predict("predict, 1,000 samples, 784-128-10 ReLU", widths=(784, 128, 10), activation="relu", samples=1000),
)
TILE = Tile("tile", k=128)  # operands of 21 KiB, which every L1 holds


def new_architecture(number: int) -> Training:
    """Return a network that no earlier number has given, with one mini-batch to train on."""
    widths = (11 + number, 37 + 3 * number, 21 + 2 * number, 3)
    return Training(f"first step of {'-'.join(map(str, widths))}", widths=widths, samples=32, mini_batch=32)


def square(width: int, mini_batch: int, *, depth: int = 3, steps: int | None = None) -> Training:
    """Return a ReLU network of ``depth`` layers that all have ``width`` inputs and outputs."""
    steps = steps or max(1, min(16, 1024 // mini_batch))
    name = f"{depth} layers of {width}, batch {mini_batch}"
    return Training(name, widths=(width,) * (depth + 1), samples=steps * mini_batch, mini_batch=mini_batch)

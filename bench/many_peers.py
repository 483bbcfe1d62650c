"""Copies of one network trained side by side by ``vmap``: of PyTorch over the models, of JAX within a ``scan``.

Each copy has its own weights, its own learning rate and its own order of the rows: SGD, mean squared error, float32.
Each library runs in a process of its own, bound to so many cores.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import Any, ClassVar

import numpy as np

from bench.contenders import load
from bench.workers import bind
from bench.workloads import Array, layers


@dataclass(frozen=True)
class Copies:
    """``count`` networks, and for how many epochs they are trained at a time."""

    count: int
    epochs: int
    widths: ClassVar[tuple[int, ...]] = (2, 25, 25, 25, 2)
    samples: ClassVar[int] = 1000
    mini_batch: ClassVar[int] = 50

    @property
    def steps(self) -> int:
        return self.epochs * self.samples // self.mini_batch

    def data(self) -> tuple[Array, Array]:
        rng = np.random.default_rng(0)
        input, target = (rng.standard_normal((self.samples, 2)).astype(np.float32) for _ in range(2))
        return input, target

    def weights(self) -> list[Array]:
        """Return weights (count, o, i) and biases (count, o) of each layer, drawn as ``nn.Linear`` draws them."""
        drawn = [layers(self.widths, "float32", np.random.default_rng((3, copy))) for copy in range(self.count)]
        return [np.stack(arrays) for layer in zip(*drawn) for arrays in zip(*layer)]

    def rates(self) -> Array:
        return (0.001 + 0.0015 * (np.arange(self.count) % 32)).astype(np.float32)

    def orders(self) -> Array:
        """Return the rows of each mini-batch, (steps, count, rows): what ``rng=copy`` shuffles in the first epochs."""
        drawn = []
        for copy in range(self.count):
            rng = np.random.default_rng(copy)
            drawn.append(np.concatenate([rng.permutation(self.samples) for _ in range(self.epochs)]))
        return np.stack(drawn, axis=1).reshape(self.steps, self.mini_batch, self.count).swapaxes(1, 2).copy()


# Trains a number of epochs more, from where it stands, and returns all parameters.
Train = Callable[[], list[Array]]


def torch_vmap(copies: Copies) -> Train:
    """The loop that one writes: a step of all models by ``vmap`` of ``grad``."""
    import torch

    step, parameters, rows = _torch_step(copies)

    @torch.no_grad()
    def train() -> list[Array]:
        for chosen in rows:
            step(*parameters, chosen)
        return [parameter.numpy() for parameter in parameters]

    return train


def torch_traced(copies: Copies) -> Train:
    """The same, whose step has been traced to a graph: ``bench.peers.torch_func`` tells why in this way."""
    import torch

    step, parameters, rows = _torch_step(copies)
    traced = load("torch.func")._compiled(step, *parameters, rows[0])

    @torch.inference_mode()
    def train() -> list[Array]:
        for chosen in rows:
            traced(*parameters, chosen)
        return [parameter.numpy() for parameter in parameters]

    return train


def _torch_step(copies: Copies) -> Any:
    """Return a step of all copies, their parameters, and the rows of each step."""
    import torch
    from torch.nn import functional

    parameters = [torch.from_numpy(array) for array in copies.weights()]
    x, y, rates, rows = map(torch.from_numpy, (*copies.data(), copies.rates(), copies.orders()))

    def loss(parameters: list[Any], input: Any, target: Any) -> Any:
        for place in range(0, len(parameters), 2):
            input = functional.linear(torch.relu(input) if place else input, *parameters[place : place + 2])
        return functional.mse_loss(input, target)

    grads_of = torch.func.vmap(torch.func.grad(loss))

    def step(*tensors: Any) -> Any:
        *parameters, chosen = tensors
        grads = grads_of(parameters, x[chosen], y[chosen])
        for parameter, grad in zip(parameters, grads):
            parameter.sub_(rates.view(-1, *[1] * (grad.ndim - 1)) * grad)
        return parameters[0]

    return step, parameters, list(rows)


def jax_vmap(copies: Copies) -> Train:
    """All steps in one compiled ``scan``, the models within it by ``vmap``, in memory that is written in place.

    Tried with 32 and 256 copies: weights as (i, o), steps unrolled by 4, mini-batches gathered ahead, and ``scan``
    within ``vmap`` were no faster.
    """
    import jax
    import jax.numpy as jnp

    x, y, rates = (jnp.asarray(array) for array in (*copies.data(), copies.rates()))
    rows = jnp.asarray(copies.orders(), jnp.int32)

    def loss(parameters: Any, input: Any, target: Any) -> Any:
        for place in range(0, len(parameters), 2):
            input = (jax.nn.relu(input) if place else input) @ parameters[place].T + parameters[place + 1]
        return jnp.mean((input - target) ** 2)

    def step_of_one(parameters: Any, chosen: Any, rate: Any) -> Any:
        grads = jax.grad(loss)(parameters, x[chosen], y[chosen])
        return jax.tree.map(lambda parameter, grad: parameter - rate * grad, parameters, grads)

    def train_all(parameters: Any, rows: Any) -> Any:
        def step(parameters: Any, chosen: Any) -> Any:
            return jax.vmap(step_of_one)(parameters, chosen, rates), None

        return jax.lax.scan(step, parameters, rows)[0]

    compiled = jax.jit(train_all, donate_argnums=0)
    state = [[jnp.asarray(array) for array in copies.weights()]]

    def train() -> list[Array]:
        state[0] = jax.block_until_ready(compiled(state[0], rows))
        return list(map(np.asarray, state[0]))

    return train


# The names that the tables show, the library of each in ``bench.contenders``, and what prepares it.
PEERS: dict[str, tuple[str, Callable[[Copies], Train]]] = {
    "PyTorch vmap": ("torch.func", torch_vmap),
    "PyTorch vmap, traced": ("torch.func", torch_traced),
    "JAX vmap in scan": ("jax", jax_vmap),
}


class Process:
    """One of ``PEERS`` in a process of its own."""

    def __init__(self, name: str, threads: int) -> None:
        self._name, self._library = name, PEERS[name][0]
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context, _begin, (self._library, threads))

    def first_weights(self, copies: Copies) -> list[Array]:
        """Compile; return all parameters after the first epochs."""
        return self._pool.submit(_train, self._name, copies).result()[1]

    def seconds(self, copies: Copies) -> float:
        """Return the seconds of as many epochs more."""
        return self._pool.submit(_train, self._name, copies).result()[0]

    def stop(self) -> None:
        self._pool.shutdown()


def _begin(library: str, threads: int) -> None:
    bind(threads)
    load(library).set_threads(threads)


_ready = cache(lambda name, copies: PEERS[name][1](copies))


def _train(name: str, copies: Copies) -> tuple[float, list[Array]]:
    train = _ready(name, copies)
    start = perf_counter()
    weights = train()
    return perf_counter() - start, [weight[:64].copy() for weight in weights]

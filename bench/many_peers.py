"""Copies of one network trained side by side by ``vmap``: PyTorch's over the models, JAX's within a ``scan``.

Each copy has its own learning rate and its own order of the rows, SGD, mean squared error, float32. A peer returns what
trains a number of steps once more, from where it stands, and waits for the end.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from bench.workloads import Array

Train = Callable[[], object]


def stacked(copies: int, widths: tuple[int, ...]) -> list[Array]:
    """Return weights (copies, o, i) and biases (copies, o) of each layer, drawn as ``nn.Linear`` draws them."""
    rng = np.random.default_rng(3)
    arrays = []
    for inputs, outputs in pairwise(widths):
        bound = inputs**-0.5
        for shape in ((outputs, inputs), (outputs,)):
            arrays.append(rng.uniform(-bound, bound, (copies, *shape)).astype(np.float32))
    return arrays


def torch_vmap(widths: tuple[int, ...], input: Array, target: Array, orders: Array, lr: Array, threads: int) -> Train:
    """``orders`` is (steps, copies, rows of a mini-batch), ``lr`` (copies,)."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    parameters = [torch.from_numpy(array) for array in stacked(len(lr), widths)]
    x, y, rates = (torch.from_numpy(array) for array in (input, target, lr))
    rows = torch.from_numpy(orders)

    def loss(parameters: list[Any], input: Any, target: Any) -> Any:
        for place in range(0, len(parameters), 2):
            input = functional.linear(torch.relu(input) if place else input, *parameters[place : place + 2])
        return functional.mse_loss(input, target)

    grads_of = torch.func.vmap(torch.func.grad(loss))

    @torch.no_grad()
    def train() -> object:
        for chosen in rows:
            grads = grads_of(parameters, x[chosen], y[chosen])
            for parameter, grad in zip(parameters, grads):
                parameter.sub_(rates.view(-1, *[1] * (grad.ndim - 1)) * grad)
        return parameters

    return train


def jax_vmap_in_scan(
    widths: tuple[int, ...], input: Array, target: Array, orders: Array, lr: Array, threads: int
) -> Train:
    """As ``torch_vmap``; JAX takes its threads from the environment, before its first computation."""
    import jax
    import jax.numpy as jnp

    x, y, rows, rates = (jnp.asarray(array) for array in (input, target, orders, lr))

    def loss(parameters: Any, input: Any, target: Any) -> Any:
        for place in range(0, len(parameters), 2):
            input = (jax.nn.relu(input) if place else input) @ parameters[place].T + parameters[place + 1]
        return jnp.mean((input - target) ** 2)

    def step_of_one(parameters: Any, chosen: Any, rate: Any) -> Any:
        grads = jax.grad(loss)(parameters, x[chosen], y[chosen])
        return jax.tree.map(lambda parameter, grad: parameter - rate * grad, parameters, grads)

    @jax.jit
    def train_all(parameters: Any) -> Any:
        def step(parameters: Any, chosen: Any) -> Any:
            return jax.vmap(step_of_one)(parameters, chosen, rates), None

        return jax.lax.scan(step, parameters, rows)[0]

    state = [[jnp.asarray(array) for array in stacked(len(lr), widths)]]

    def train() -> object:
        state[0] = jax.block_until_ready(train_all(state[0]))
        return state[0]

    return train

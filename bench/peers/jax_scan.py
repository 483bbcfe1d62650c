"""JAX with the whole training in one compiled loop: ``lax.scan`` over the mini-batches of each epoch.

Tried on three networks, one thread: weights as (i, o) were 4 to 7 % slower than (o, i); steps unrolled by 4 were 2 to
3 % faster on the two small ones, 5 % slower on 784-128-10, and so are not.
"""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.contenders import Contender
from bench.workloads import Linear, Predict, Tanh, Training

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def set_threads(threads: int) -> None:
    """Take effect only before the first computation; the pool has as many threads as the process has cores."""
    os.environ["NPROC"] = str(threads)
    if threads == 1:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"


def _forward(parameters: Any, input: jax.Array, activation: str) -> jax.Array:
    for place, (weight, bias) in enumerate(parameters):
        if place:
            input = ACTIVATIONS[activation](input)
        input = input @ weight.T + bias
    return input


def training(workload: Training) -> Contender:
    jax.config.update("jax_enable_x64", workload.dtype == "float64")
    data, batches = workload.data(), workload.steps
    assert workload.samples == batches * workload.mini_batch, "lax.scan takes mini-batches of one size"
    inputs, targets = (
        jnp.asarray(array.reshape(batches, workload.mini_batch, -1)) for array in (data.train_input, data.train_target)
    )
    validation = None
    if workload.validation:
        validation = jnp.asarray(data.val_input), jnp.asarray(data.val_target)
    reduce = jnp.sum if workload.reduction == "sum" else jnp.mean

    def loss(parameters: Any, input: jax.Array, target: jax.Array) -> jax.Array:
        return reduce((_forward(parameters, input, workload.activation) - target) ** 2)

    def step(parameters: Any, batch: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(parameters, *batch)
        return jax.tree.map(lambda parameter, grad: parameter - workload.lr * grad, parameters, grads), value

    def train(parameters: Any, epochs: Any, inputs: Any, targets: Any, validation: Any) -> Any:
        def epoch(_: Any, state: Any) -> Any:
            parameters, total, val_total, hits = state
            parameters, losses = jax.lax.scan(step, parameters, (inputs, targets))
            if validation is not None:
                output = _forward(parameters, validation[0], workload.activation)
                val_total += reduce((output - validation[1]) ** 2)
                hits += (output.argmax(1) == validation[1].argmax(1)).sum()
            return parameters, total + losses.sum(), val_total, hits

        zero = jnp.zeros((), inputs.dtype)
        return jax.lax.fori_loop(0, epochs, epoch, (parameters, zero, zero, 0))

    parameters = [(jnp.asarray(weight), jnp.asarray(bias)) for weight, bias in workload.layers()]
    arguments = inputs, targets, validation
    compiled = jax.jit(train, donate_argnums=0).lower(parameters, np.int32(1), *arguments).compile()

    def run(epochs: int) -> None:
        nonlocal parameters
        parameters, *_ = jax.block_until_ready(compiled(parameters, np.int32(epochs), *arguments))

    return Contender(run, lambda: [np.asarray(array) for layer in parameters for array in layer])


def predict(workload: Predict) -> Contender:
    parameters = [(jnp.asarray(weight), jnp.asarray(bias)) for weight, bias in workload.layers()]
    return _repeated(
        lambda sample: _forward(parameters, sample, workload.activation), workload.dtype, workload.sample()
    )


def linear(workload: Linear) -> Contender:
    def forward(input: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
        return input @ weight.T + bias

    return _repeated(forward, workload.dtype, *workload.arrays())


def tanh(workload: Tanh) -> Contender:
    return _repeated(jnp.tanh, workload.dtype, workload.block())


def _repeated(function: Any, dtype: str, *arrays: Any) -> Contender:
    jax.config.update("jax_enable_x64", dtype == "float64")
    arguments = [jnp.asarray(array) for array in arrays]
    compiled = jax.jit(function)
    compiled(*arguments)

    def run(times: int) -> None:
        for _ in range(times):
            compiled(*arguments).block_until_ready()

    return Contender(run)

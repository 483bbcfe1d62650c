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
import optax

from bench.contenders import Contender
from bench.recipes import Recipe
from bench.workloads import Linear, Predict, Tanh, Training

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}


def set_threads(threads: int) -> None:
    """Take effect only before the first computation; the pool has as many threads as the process has cores."""
    jax.config.update("jax_platforms", "cpu")  # a GPU would be taken before it
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


LOSSES = {
    "mse": lambda output, target: jnp.mean((output - target) ** 2),
    "cross entropy": lambda output, target: jnp.mean(optax.softmax_cross_entropy_with_integer_labels(output, target)),
    "bce with logits": lambda output, target: jnp.mean(optax.sigmoid_binary_cross_entropy(output, target)),
    "huber": lambda output, target: jnp.mean(optax.huber_loss(output, target)),
}
SMOOTH = {"relu": jax.nn.relu, "gelu": lambda x: jax.nn.gelu(x, approximate=False), "silu": jax.nn.silu}


def recipe(workload: Recipe) -> Contender:
    """The whole run in one compiled ``lax.scan`` with optax."""
    jax.config.update("jax_enable_x64", workload.dtype == "float64")
    input, target = workload.data()
    batches, size = workload.steps, workload.mini_batch
    inputs = jnp.asarray(input.reshape(batches, size, -1))
    shape = (batches, size) if workload.loss == "cross entropy" else (batches, size, -1)
    targets = jnp.asarray(target.reshape(shape))

    def train(parameters: Any, state: Any, key: Any, epochs: Any, inputs: jax.Array, targets: jax.Array) -> Any:
        step = _recipe_step(workload, _recipe_optimizer(workload, epochs * batches))

        def epoch(_: Any, carried: Any) -> Any:
            carried, total = carried
            carried, losses = jax.lax.scan(step, carried, (inputs, targets))
            return carried, total + losses.sum()

        return jax.lax.fori_loop(0, epochs, epoch, ((parameters, state, key), jnp.zeros((), inputs.dtype)))

    parameters = _recipe_parameters(workload)
    state = _recipe_optimizer(workload, batches).init(parameters)
    carried: Any = (parameters, state, jax.random.key(0, impl="rbg"))
    # Without donation: optax's state may alias.
    compiled = jax.jit(train).lower(*carried, np.int32(1), inputs, targets).compile()

    def run(epochs: int) -> None:
        nonlocal carried
        carried, _ = jax.block_until_ready(compiled(*carried, np.int32(epochs), inputs, targets))

    def weights() -> Any:
        names = ("weight", "bias", "scale", "shift")
        return [np.asarray(layer[name]) for layer in carried[0] for name in names if name in layer]

    return Contender(run, weights)


def _recipe_parameters(workload: Recipe) -> list[dict[str, jax.Array]]:
    parameters = []
    for place, (weight, bias) in enumerate(workload.layers()):
        layer = {"weight": jnp.asarray(weight), "bias": jnp.asarray(bias)}
        if workload.layer_norm and place < len(workload.widths) - 2:
            layer |= {"scale": jnp.ones(len(bias), bias.dtype), "shift": jnp.zeros(len(bias), bias.dtype)}
        parameters.append(layer)
    return parameters


def _recipe_forward(workload: Recipe, parameters: Any, x: jax.Array, key: Any) -> jax.Array:
    last = len(parameters) - 1
    for place, layer in enumerate(parameters):
        x = x @ layer["weight"].T + layer["bias"]
        if place == last:
            break
        if workload.layer_norm:
            mean, variance = x.mean(1, keepdims=True), x.var(1, keepdims=True)
            x = (x - mean) * jax.lax.rsqrt(variance + 1e-5) * layer["scale"] + layer["shift"]
        x = SMOOTH[workload.activation](x)
        if workload.dropout:
            key, own = jax.random.split(key)
            keep = jax.random.bernoulli(own, 1 - workload.dropout, x.shape)
            x = jnp.where(keep, x / (1 - workload.dropout), 0)
    return x


def _recipe_optimizer(workload: Recipe, steps: Any) -> optax.GradientTransformation:
    def annealed(count: Any) -> Any:
        return workload.lr * 0.5 * (1 + jnp.cos(jnp.pi * count / steps))

    rate = annealed if workload.anneals else workload.lr
    kind = {
        "adam": lambda: optax.adam(rate),
        "adamw": lambda: optax.adamw(rate, weight_decay=0.01),
        "rmsprop": lambda: optax.rmsprop(rate, decay=0.99, eps=1e-8, eps_in_sqrt=False),
    }[workload.optimizer]()
    return optax.chain(optax.clip_by_global_norm(1.0), kind) if workload.clips else kind


def _recipe_step(workload: Recipe, optimizer: optax.GradientTransformation) -> Any:
    """The step of a mini-batch, as ``lax.scan`` takes it."""

    def loss(parameters: Any, x: jax.Array, y: jax.Array, key: Any) -> jax.Array:
        return LOSSES[workload.loss](_recipe_forward(workload, parameters, x, key), y)

    def step(carried: Any, batch: Any) -> Any:
        parameters, state, key = carried
        key, own = jax.random.split(key) if workload.dropout else (key, key)
        value, grads = jax.value_and_grad(loss)(parameters, *batch, own)
        updates, state = optimizer.update(grads, state, parameters)
        return (optax.apply_updates(parameters, updates), state, key), value

    return step

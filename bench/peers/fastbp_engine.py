"""fastbp: trainings through ``train_model``, kernels as a user's own compiled code calls them."""

from __future__ import annotations

from inspect import signature
from threading import Thread

import numpy as np
from numba import njit

import fastbp
import fastbp_kernels
from bench.contenders import Contender
from bench.recipes import Recipe
from bench.workloads import (
    Activation,
    Descent,
    Layers,
    Linear,
    LinearBackward,
    Online,
    Predict,
    Product,
    SquaredError,
    Tanh,
    Tile,
    Training,
)
from fastbp import nn, optim
from fastbp_kernels import (
    linear_backward_input,
    linear_backward_parameters,
    linear_forward,
    mse_forward_backward,
    sgd_step,
    tanh_forward,
)

try:
    from fastbp_kernels.compiler.pointers import pointer
    from fastbp_kernels.linalg.tile import STORE, TILE_ROWS, tile, widths
except ModuleNotFoundError:  # bench.compare and asv run this file with older commits, whose kernels were in one folder
    from fastbp_kernels.pointers import pointer
    from fastbp_kernels.tile import STORE, TILE_ROWS, tile, widths

CACHE_LINE = 64  # bytes

set_threads = fastbp.set_num_threads

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


def network(layers: Layers, activation: str) -> nn.Sequential:
    modules: list[nn.Module] = []
    for weight, bias in layers:
        o, i = weight.shape
        linear = nn.Linear(i, o, init="zeros", dtype=weight.dtype)
        linear.weight.data[...], linear.bias.data[...] = weight, bias
        modules += [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*modules[:-1])


def training(workload: Training) -> Contender:
    model = network(workload.layers(), workload.activation)
    data = workload.data()
    criterion, opt = nn.MSELoss(reduction=workload.reduction), optim.SGD(model.parameters(), lr=workload.lr)

    def run(epochs: int) -> None:
        history = fastbp.train_model(
            model,
            data.train_input,
            data.train_target,
            data.val_input,
            data.val_target,
            criterion,
            opt,
            epochs,
            workload.mini_batch,
            progress=False,
        )
        backend = history.backend if hasattr(history, "backend") else history.way  # its name in older commits
        assert backend == "engine", getattr(history, "fallback_reason", backend)

    return Contender(run, lambda: [parameter.data for parameter in model.parameters()])


def online(workload: Online) -> Contender:
    model, data, size = network(workload.layers(), workload.activation), workload.data(), workload.mini_batch
    criterion, opt = nn.MSELoss(reduction=workload.reduction), optim.SGD(model.parameters(), lr=workload.lr)

    def run(times: int) -> None:
        for _ in range(times):
            for first in range(0, workload.samples, size):
                rows = data.train_input[first : first + size], data.train_target[first : first + size]
                fastbp.train_model(model, *rows, None, None, criterion, opt, 1, size, progress=False)

    return Contender(run, lambda: [parameter.data for parameter in model.parameters()])


def predict(workload: Predict) -> Contender:
    model, sample = network(workload.layers(), workload.activation), workload.sample()

    def run(times: int) -> None:
        for _ in range(times):
            model.predict(sample)

    return Contender(run)


def linear(workload: Linear) -> Contender:
    input, weight, bias = (_aligned(array) for array in workload.arrays())
    output = _aligned(np.zeros((workload.n, workload.o), workload.dtype))
    return Contender(lambda times: _repeat_linear(times, input, weight, bias, output))


@njit
def _repeat_linear(times, input, weight, bias, output):
    for _ in range(times):
        linear_forward(input, weight, bias, output)


def product(workload: Product) -> Contender:
    from bench.peers import fastbp_products  # here, for older commits share products otherwise

    return fastbp_products.product(workload)


def tanh(workload: Tanh) -> Contender:
    block = _aligned(workload.block())
    output = _aligned(np.zeros_like(block))

    def run(times: int) -> None:
        for _ in range(times):
            tanh_forward(block, output)

    return Contender(run)


def linear_backward(workload: LinearBackward) -> Contender:
    grad_output, input, weight, bias = map(_aligned, (workload.grad_output(), *workload.arrays()))
    grad_input, grad_weight, grad_bias = (_aligned(np.zeros_like(array)) for array in (input, weight, bias))

    def run(times: int) -> None:
        for _ in range(times):
            linear_backward_parameters(grad_output, input, grad_weight, grad_bias)
            linear_backward_input(grad_output, weight, grad_input)

    return Contender(run, lambda: [grad_input, grad_weight, grad_bias])


def activation(workload: Activation) -> Contender:
    forward = getattr(fastbp_kernels, f"{workload.function}_forward")
    backward = getattr(fastbp_kernels, f"{workload.function}_backward")
    input, grad_output = map(_aligned, workload.arrays())
    output, grad_input = _aligned(np.zeros_like(input)), _aligned(np.zeros_like(input))

    def run(times: int) -> None:
        for _ in range(times):
            forward(input, output)
            backward(grad_output, output, grad_input)

    return Contender(run, lambda: [output, grad_input])


def squared_error(workload: SquaredError) -> Contender:
    prediction, target = map(_aligned, workload.arrays())
    grad, factor = _aligned(np.zeros_like(target)), target.dtype.type(2)

    def run(times: int) -> None:
        for _ in range(times):
            mse_forward_backward(prediction, target, factor, grad)

    return Contender(run, lambda: [grad])


def descent(workload: Descent) -> Contender:
    parameter, grad = map(_aligned, workload.arrays())
    lr = grad.dtype.type(1e-3)

    def run(times: int) -> None:
        for _ in range(times):
            sgd_step(parameter, grad, lr)

    return Contender(run, lambda: [parameter])


def tile_limit(workload: Tile) -> Contender:
    width = widths(np.dtype(workload.dtype).itemsize)[0]
    a, b = workload.normal(1, TILE_ROWS * workload.k), workload.normal(2, workload.k * width)
    start, c = np.zeros(width, workload.dtype), np.zeros(TILE_ROWS * width, workload.dtype)
    a, b, start, c = map(_aligned, (a, b, start, c))
    flop = 2 * TILE_ROWS * width * workload.k

    def run(times: int) -> None:
        _repeat(times, width, workload.k, a, b, start, c)

    def run_all(times: int) -> None:
        helpers = [Thread(target=_repeat, args=(times, width, workload.k, a, b, start, c.copy())) for _ in others]
        for helper in helpers:
            helper.start()
        run(times)
        for helper in helpers:
            helper.join()

    others = range(1, workload.cores)
    return Contender(run_all if others else run, lambda: [c], flop * workload.cores)


def _repeat_tile(times, width, k, a, b, start, c):
    for _ in range(times):
        tile(
            width, TILE_ROWS, 1, width, k, pointer(a), 0, k, 1,
            pointer(b), width, pointer(start), pointer(c), width, STORE, pointer(c), width, 0.0,
        )  # fmt: skip


def _repeat_tile_of_before(times, width, k, a, b, start, c):
    for _ in range(times):
        tile(
            width, TILE_ROWS, 1, width, k, pointer(a), k, 1,
            pointer(b), width, pointer(start), pointer(c), width, STORE, pointer(c), width, 0.0,
        )  # fmt: skip


_repeat = njit(nogil=True)(_repeat_tile if "a_tile" in signature(tile._defn).parameters else _repeat_tile_of_before)


def _aligned(array):
    """Return a copy of ``array`` that starts at a cache line (NumPy promises 16 bytes)."""
    memory = np.empty(array.nbytes + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


LOSSES = {
    "mse": "MSELoss",
    "cross entropy": "CrossEntropyLoss",
    "bce with logits": "BCEWithLogitsLoss",
    "huber": "HuberLoss",
}


def recipe(workload: Recipe) -> Contender:
    modules: list[nn.Module] = []
    for place, linear in enumerate(network(workload.layers(), "relu")[::2]):
        modules.append(linear)
        if place < len(workload.widths) - 2:
            o = workload.widths[place + 1]
            modules += [nn.LayerNorm(o, dtype=workload.dtype)] if workload.layer_norm else []
            modules.append(getattr(nn, {"relu": "ReLU", "gelu": "GELU", "silu": "SiLU"}[workload.activation])())
            modules += [nn.Dropout(workload.dropout, rng=0)] if workload.dropout else []
    model, criterion = nn.Sequential(*modules), getattr(nn, LOSSES[workload.loss])()
    kind = getattr(optim, {"adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}[workload.optimizer])
    opt = kind(model.parameters(), lr=workload.lr)
    input, target = workload.data()

    def run(epochs: int) -> None:
        options = {"clip_grad_norm": 1.0} if workload.clips else {}
        if workload.anneals:
            opt.lr = workload.lr
            scheduler = optim.lr_scheduler.CosineAnnealingLR(opt, epochs * workload.steps)
            options |= {"scheduler": scheduler, "scheduler_interval": "batch"}
        history = fastbp.train_model(
            model, input, target, None, None, criterion, opt, epochs, workload.mini_batch, progress=False, **options
        )
        assert history.backend == "engine", history.fallback_reason

    return Contender(run, lambda: [parameter.data for parameter in model.parameters()])

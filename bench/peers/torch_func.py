"""PyTorch compiled: the whole step through ``torch.func``, traced to a graph of kernels and run by TorchScript.

Of the ways tried with PyTorch 2.13 this was the fastest: 2-25-25-25-2 took 54 us a step on one thread, the graph of
``make_fx`` run by Python 195. ``torch.compile`` of the whole step took 554 in an earlier measurement, after 26 s of
compilation, and is not run here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from bench.contenders import Contender
from bench.recipes import Recipe, cosine
from bench.workloads import Array, Layers, Predict, Training

set_threads = torch.set_num_threads

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


def training(workload: Training) -> Contender:
    parameters = _tensors(workload.layers())
    data, size = workload.data(), workload.mini_batch
    train_input, train_target = torch.from_numpy(data.train_input), torch.from_numpy(data.train_target)
    batches = list(zip(train_input.split(size), train_target.split(size)))

    def loss(parameters: list[Tensor], input: Tensor, target: Tensor) -> Tensor:
        output = _forward(parameters, input, workload.activation)
        return functional.mse_loss(output, target, reduction=workload.reduction)

    def step(*tensors: Tensor) -> Tensor:
        *parameters, input, target = tensors
        grads, value = torch.func.grad_and_value(loss)(parameters, input, target)
        for parameter, grad in zip(parameters, grads):
            parameter.add_(grad, alpha=-workload.lr)
        return value

    def evaluate(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        *parameters, input, target = tensors
        output = _forward(parameters, input, workload.activation)
        hits = (output.argmax(1) == target.argmax(1)).float().mean()
        return functional.mse_loss(output, target, reduction=workload.reduction), hits

    compiled_step = _compiled(step, *parameters, *batches[0])
    if workload.validation:
        validation = torch.from_numpy(data.val_input), torch.from_numpy(data.val_target)
        compiled_evaluate = _compiled(evaluate, *parameters, *validation)

    @torch.inference_mode()
    def run(epochs: int) -> None:
        for _ in range(epochs):
            losses = [compiled_step(*parameters, *batch) for batch in batches]
            float(torch.stack(losses).sum())
            if workload.validation:
                for value in compiled_evaluate(*parameters, *validation):
                    value.item()

    return Contender(run, lambda: [parameter.numpy() for parameter in parameters])


def predict(workload: Predict) -> Contender:
    parameters, sample = _tensors(workload.layers()), torch.from_numpy(workload.sample())
    compiled = _compiled(lambda input: _forward(parameters, input, workload.activation), sample)

    @torch.inference_mode()
    def run(times: int) -> None:
        for _ in range(times):
            compiled(sample)

    return Contender(run)


def _tensors(layers: Layers) -> list[Tensor]:
    return [torch.from_numpy(array) for layer in layers for array in layer]


def _forward(parameters: list[Tensor], input: Tensor, activation: str) -> Tensor:
    for place in range(0, len(parameters), 2):
        if place:
            input = ACTIVATIONS[activation](input)
        input = functional.linear(input, *parameters[place : place + 2])
    return input


def _compiled(function: Callable[..., Any], *example: Tensor) -> Callable[..., Any]:
    """Return ``function`` as a TorchScript of tensor operations; tracing runs it on copies of ``example``."""
    copies = [tensor.clone() for tensor in example]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is not developed any further
        graph = make_fx(function)(*copies)
        return torch.jit.trace(lambda *tensors: graph(*tensors), tuple(copies), check_trace=False)


LOSSES = {
    "mse": functional.mse_loss,
    "cross entropy": functional.cross_entropy,
    "bce with logits": functional.binary_cross_entropy_with_logits,
    "huber": functional.huber_loss,
}
SMOOTH = {"relu": torch.relu, "gelu": functional.gelu, "silu": functional.silu}


def recipe(workload: Recipe) -> Contender:
    """A traced step over one flat vector of parameters, so that the optimiser is a few operations."""
    arrays = _recipe_arrays(workload)
    shapes, counts = [array.shape for array in arrays], [array.size for array in arrays]
    flat = torch.from_numpy(np.concatenate([array.ravel() for array in arrays]))
    first, second = torch.zeros_like(flat), torch.zeros_like(flat)
    input, target = map(torch.from_numpy, workload.data())
    batches = list(zip(input.split(workload.mini_batch), target.split(workload.mini_batch)))

    def parts(flat: Tensor) -> list[Tensor]:
        return [part.view(shape) for part, shape in zip(flat.split(counts), shapes)]

    def loss(flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return LOSSES[workload.loss](_recipe_forward(workload, parts(flat), x), y)

    def step(flat: Tensor, first: Tensor, second: Tensor, scalars: Tensor, x: Tensor, y: Tensor) -> Tensor:
        grad, value = torch.func.grad_and_value(loss)(flat, x, y)
        _recipe_update(workload, flat, grad, first, second, scalars)
        return value

    compiled = _compiled(step, flat, first, second, torch.ones(3, dtype=flat.dtype), *batches[0])
    done = 0

    @torch.inference_mode()
    def run(epochs: int) -> None:
        nonlocal done
        steps, losses = epochs * len(batches), []
        rates = cosine(steps, workload.lr) if workload.anneals else np.full(steps, workload.lr)
        counted = np.arange(done, done + steps) + 1.0
        table = np.stack([rates, 1 - 0.9**counted, np.sqrt(1 - 0.999**counted)], axis=1).astype(workload.dtype)
        rows = torch.from_numpy(table).unbind()
        for number in range(steps):
            losses.append(compiled(flat, first, second, rows[number], *batches[number % len(batches)]))
        float(torch.stack(losses).sum())
        done += steps

    return Contender(run, lambda: [part.numpy() for part in parts(flat)])


def _recipe_arrays(workload: Recipe) -> list[Array]:
    arrays: list[Array] = []
    for place, (weight, bias) in enumerate(workload.layers()):
        arrays += [weight, bias]
        if workload.layer_norm and place < len(workload.widths) - 2:
            arrays += [np.ones_like(bias), np.zeros_like(bias)]
    return arrays


def _recipe_forward(workload: Recipe, parts: list[Tensor], x: Tensor) -> Tensor:
    per_layer = 4 if workload.layer_norm else 2
    for place in range(0, len(parts), per_layer):
        x = functional.linear(x, parts[place], parts[place + 1])
        if place + per_layer >= len(parts):
            break
        if workload.layer_norm:
            variance, mean = torch.var_mean(x, 1, unbiased=False, keepdim=True)  # layer_norm is not traced
            x = (x - mean) * torch.rsqrt(variance + 1e-5) * parts[place + 2] + parts[place + 3]
        x = SMOOTH[workload.activation](x)
        if workload.dropout:
            x = functional.dropout(x, workload.dropout, True)
    return x


def _recipe_update(
    workload: Recipe, flat: Tensor, grad: Tensor, first: Tensor, second: Tensor, scalars: Tensor
) -> None:
    """Clip and step. ``scalars`` are the learning rate and what Adam divides its two moments by."""
    lr, correction1, correction2 = scalars.unbind()
    if workload.clips:
        grad = grad * torch.clamp(1.0 / (grad.norm() + 1e-6), max=1.0)
    if workload.optimizer == "rmsprop":
        second.mul_(0.99).addcmul_(grad, grad, value=0.01)
        flat.sub_(lr * grad / (second.sqrt() + 1e-8))
        return
    if workload.optimizer == "adamw":
        flat.mul_(1 - lr * 0.01)
    first.lerp_(grad, 0.1)
    second.mul_(0.999).addcmul_(grad, grad, value=0.001)
    flat.sub_(lr / correction1 * first / (second.sqrt() / correction2 + 1e-8))

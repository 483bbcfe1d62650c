"""PyTorch compiled: the whole step through ``torch.func``, traced to a graph of kernels and run by TorchScript.

Of the ways tried with PyTorch 2.13 this was the fastest: 2-25-25-25-2 took 54 us a step on one thread, the graph of
``make_fx`` run by Python 195. ``torch.compile`` of the whole step took 554 in an earlier measurement, after 26 s of
compilation, and is not run here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from bench.contenders import Contender
from bench.workloads import Layers, Predict, Training

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

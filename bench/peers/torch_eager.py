"""PyTorch as one writes it: modules, autograd, an optimiser."""

from __future__ import annotations

import torch

from bench.disk_task import torch_epoch
from bench.peers import Contender
from bench.workloads import Layers, Linear, Predict, Tanh, Training

set_threads = torch.set_num_threads

ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}


def network(layers: Layers, activation: str) -> torch.nn.Sequential:
    modules: list[torch.nn.Module] = []
    for weight, bias in layers:
        o, i = weight.shape
        linear = torch.nn.Linear(i, o, dtype=torch.from_numpy(weight).dtype)
        linear.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        modules += [linear, ACTIVATIONS[activation]()]
    return torch.nn.Sequential(*modules[:-1])


def training(workload: Training) -> Contender:
    """The loop of the original experiment, as in ``bench.disk_task``. ``SGD(fused=True)`` was no faster."""
    model = network(workload.layers(), workload.activation)
    criterion = torch.nn.MSELoss(reduction=workload.reduction)
    optimizer = torch.optim.SGD(model.parameters(), lr=workload.lr)
    data, size = workload.data(), workload.mini_batch
    train_input, train_target = torch.from_numpy(data.train_input), torch.from_numpy(data.train_target)
    if workload.validation:
        val_input, val_target = torch.from_numpy(data.val_input), torch.from_numpy(data.val_target)

    def run(epochs: int) -> None:
        for _ in range(epochs):
            torch_epoch(model, criterion, optimizer, train_input, train_target, size)
            if workload.validation:
                with torch.no_grad():
                    output = model(val_input)
                    criterion(output, val_target).item()
                    float((output.argmax(1) == val_target.argmax(1)).float().mean())

    return Contender(run, lambda: [parameter.detach().numpy() for parameter in model.parameters()])


def predict(workload: Predict) -> Contender:
    model = network(workload.layers(), workload.activation).eval()
    sample = torch.from_numpy(workload.sample())

    @torch.inference_mode()
    def run(times: int) -> None:
        for _ in range(times):
            model(sample)

    return Contender(run)


def linear(workload: Linear) -> Contender:
    input, weight, bias = map(torch.from_numpy, workload.arrays())
    output = torch.empty(workload.n, workload.o, dtype=input.dtype)
    weight_t = weight.T

    @torch.inference_mode()
    def run(times: int) -> None:
        for _ in range(times):
            torch.addmm(bias, input, weight_t, out=output)

    return Contender(run)


def tanh(workload: Tanh) -> Contender:
    block = torch.from_numpy(workload.block())
    output = torch.empty_like(block)

    @torch.inference_mode()
    def run(times: int) -> None:
        for _ in range(times):
            torch.tanh(block, out=output)

    return Contender(run)

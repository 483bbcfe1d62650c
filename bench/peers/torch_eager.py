"""PyTorch as one writes it: modules, autograd, an optimiser."""

from __future__ import annotations

import torch

from bench.contenders import Contender
from bench.recipes import Recipe
from bench.workloads import (
    Activation,
    Descent,
    Layers,
    Linear,
    LinearBackward,
    Predict,
    Product,
    SquaredError,
    Tanh,
    Training,
)

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


def torch_epoch(
    model: torch.nn.Module,
    criterion: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    train_input: torch.Tensor,
    train_target: torch.Tensor,
    mini_batch: int,
) -> float:
    """Train one epoch by the original's loop, the rows in order; return the sum of the batch losses."""
    train_loss = 0.0
    for first in range(0, len(train_input), mini_batch):
        output = model(train_input[first : first + mini_batch])
        loss = criterion(output, train_target[first : first + mini_batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        train_loss += loss.item()
    return train_loss


def training(workload: Training) -> Contender:
    """The loop of the original experiment. ``SGD(fused=True)`` was no faster."""
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


online = training


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


def linear_backward(workload: LinearBackward) -> Contender:
    """The three operations of autograd, adding as ``AccumulateGrad`` adds, without its tape."""
    input, weight, bias = map(torch.from_numpy, workload.arrays())
    grad_output = torch.from_numpy(workload.grad_output())
    grad_input, grad_weight, grad_bias = map(torch.zeros_like, (input, weight, bias))

    @torch.inference_mode()
    def run(times: int) -> None:
        for _ in range(times):
            grad_weight.addmm_(grad_output.T, input)
            grad_bias.add_(grad_output.sum(0))
            torch.mm(grad_output, weight, out=grad_input)

    return Contender(run, lambda: [tensor.numpy() for tensor in (grad_input, grad_weight, grad_bias)])


def product(workload: Product) -> Contender:
    first, second, result = map(torch.from_numpy, workload.arrays())

    @torch.inference_mode()
    def run(times: int) -> None:
        for _ in range(times):
            if workload.of == "output":
                torch.mm(first, second.T, out=result)
            elif workload.of == "grad_input":
                torch.mm(first, second, out=result)
            else:
                result.addmm_(first.T, second)

    return Contender(run, lambda: [result.numpy()])


def activation(workload: Activation) -> Contender:
    """The operations that a module and autograd call, into arrays that are there already."""
    aten = torch.ops.aten
    forward, backward = {
        "relu": (torch.clamp_min, aten.threshold_backward.grad_input),
        "tanh": (torch.tanh, aten.tanh_backward.grad_input),
        "sigmoid": (torch.sigmoid, aten.sigmoid_backward.grad_input),
    }[workload.function]
    threshold = (0,) if workload.function == "relu" else ()
    input, grad_output = map(torch.from_numpy, workload.arrays())
    output, grad_input = torch.empty_like(input), torch.empty_like(input)

    @torch.inference_mode()
    def run(times: int) -> None:
        for _ in range(times):
            forward(input, *threshold, out=output)
            backward(grad_output, output, *threshold, grad_input=grad_input)

    return Contender(run, lambda: [tensor.numpy() for tensor in (output, grad_input)])


def squared_error(workload: SquaredError) -> Contender:
    prediction, target = map(torch.from_numpy, workload.arrays())
    grad, one, by_sum = torch.empty_like(target), torch.ones(()), 2  # ATen's number for reduction="sum"

    @torch.inference_mode()
    def run(times: int) -> None:
        for _ in range(times):
            torch.ops.aten.mse_loss(prediction, target, by_sum)
            torch.ops.aten.mse_loss_backward.grad_input(one, prediction, target, by_sum, grad_input=grad)

    return Contender(run, lambda: [grad.numpy()])


def descent(workload: Descent) -> Contender:
    parameter, grad = map(torch.from_numpy, workload.arrays())

    @torch.inference_mode()
    def run(times: int) -> None:
        for _ in range(times):
            parameter.add_(grad, alpha=-1e-3)

    return Contender(run, lambda: [parameter.numpy()])


LOSSES = {
    "mse": torch.nn.MSELoss,
    "cross entropy": torch.nn.CrossEntropyLoss,
    "bce with logits": torch.nn.BCEWithLogitsLoss,
    "huber": torch.nn.HuberLoss,
}


def recipe(workload: Recipe) -> Contender:
    """The usual loop, with the fused optimisers where PyTorch has them."""
    modules: list[torch.nn.Module] = []
    for place, linear in enumerate(network(workload.layers(), "relu")[::2]):
        modules.append(linear)
        if place < len(workload.widths) - 2:
            o = workload.widths[place + 1]
            modules += [torch.nn.LayerNorm(o, dtype=linear.weight.dtype)] if workload.layer_norm else []
            modules.append({"relu": torch.nn.ReLU, "gelu": torch.nn.GELU, "silu": torch.nn.SiLU}[workload.activation]())
            modules += [torch.nn.Dropout(workload.dropout)] if workload.dropout else []
    model, criterion = torch.nn.Sequential(*modules), LOSSES[workload.loss]()
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}[workload.optimizer]
    fused = {} if workload.optimizer == "rmsprop" else {"fused": True}
    optimizer = kind(model.parameters(), lr=workload.lr, **fused)
    input, target = map(torch.from_numpy, workload.data())

    def run(epochs: int) -> None:
        scheduler = None
        if workload.anneals:
            optimizer.param_groups[0]["lr"] = workload.lr
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * workload.steps)
        for _ in range(epochs):
            for first in range(0, len(input), workload.mini_batch):
                loss = criterion(model(input[first : first + workload.mini_batch]),
                                 target[first : first + workload.mini_batch])  # fmt: skip
                optimizer.zero_grad()
                loss.backward()
                if workload.clips:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                if scheduler is not None:
                    scheduler.step()

    return Contender(run, lambda: [parameter.detach().numpy() for parameter in model.parameters()])

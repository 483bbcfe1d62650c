"""Compile everything ahead: for images, for CI, and for whoever does not want to wait at the first training."""

from __future__ import annotations

import numpy as np

from fastbp import nn, optim
from fastbp.nn.activations import activation_of_row
from fastbp.nn.layer_classes import LAYER_CLASSES
from fastbp.nn.losses.kernel_loss import KernelLoss, given_rows
from fastbp.training.engine_trainer import EngineTrainer
from fastbp.training.history import History
from fastbp.training.module_trainer import ModuleTrainer
from fastbp.training.training_run import TrainingRun
from fastbp.validation.arrays import FLOAT_DTYPES, Array
from fastbp_kernels import linear_backward_parameters_share, linear_backward_share, linear_forward_share
from fastbp_kernels.compiler.late_function import load_all
from fastbp_kernels.functions.activations import ACTIVATIONS
from fastbp_kernels.network.arguments import Rows


def warmup() -> None:
    """Have every kernel ready, from the cache or compiled into it; about a minute where nothing is cached."""
    load_all()
    for dtype in FLOAT_DTYPES:
        x = np.zeros((2, 1), dtype)
        for row in ACTIVATIONS:
            if row.name != "Identity":
                _run(nn.Sequential(nn.Linear(1, 1, dtype=dtype), activation_of_row(row.name)), x)
        for layer in LAYER_CLASSES.values():
            module = layer.build_example(dtype)
            module.backward(module(np.zeros((2, 2), np.int64 if layer.takes_indices else dtype)))
        model = nn.Sequential(nn.Linear(1, 1, dtype=dtype))
        classes, weights = np.zeros(len(x), np.int64), np.ones(len(x), dtype)
        _train(model, nn.MSELoss(), given_rows(x, x.copy()))
        _train(model, nn.CrossEntropyLoss(), given_rows(x, classes, weights))  # with what all others take
        nn.CrossEntropyLoss(reduction="none").evaluate(x, classes)
        _step_groups(model)
        # What large layers use, with one thread for all: the number of threads makes no other code.
        weight, bias, output = np.zeros((1, 1), dtype), np.zeros(1, dtype), np.zeros((2, 1), dtype)
        linear_forward_share(0, 1, x, weight, bias, output)
        linear_backward_parameters_share(0, 1, output, x, weight, bias)
        linear_backward_share(0, 1, output, x, weight, weight.copy(), bias, x.copy())


def _step_groups(model: nn.Sequential) -> None:
    """Clip the gradients and step parameters that have settings of their own."""
    for parameter in model.parameters():
        parameter.note_grad()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optim.SGD([{"params": parameter} for parameter in model.parameters()]).step()


def _run(model: nn.Sequential, x: Array) -> None:
    """Run every module's own forward and backward, of rows and of one sample."""
    for input in (x, x[0]):
        output = input
        for module in model:
            output = module.forward(output)
        for module in reversed(list(model)):
            output = module.backward(output)
    model.backward(model(x))


def _train(model: nn.Sequential, criterion: KernelLoss, rows: Rows) -> None:
    """Train and validate in the engine and module by module."""
    for trainer in (EngineTrainer, ModuleTrainer):
        opt = optim.SGD(model.parameters(), lr=0.1)
        list(trainer(model, criterion, opt, rows, rows, 1).train(TrainingRun(History(), 1)))

"""How far every layer, activation, loss and optimiser is from torch, in figures: a table of docs/equivalence.md."""

import warnings
from typing import NamedTuple

import numpy
import torch
from helpers import draw, leaf, tensor
from loss_cases import CASES
from test_registries import NAMES, OPTIONS, activation, optimizer

from fastbp import nn, to_torch
from fastbp.nn.layer_classes import LAYER_CLASSES

# What they are built with, for 48 features; dropouts draw other numbers than torch's.
LAYERS = {
    "Linear": {"in_features": 48, "out_features": 32},
    "LayerNorm": {"normalized_shape": 48},
    "RMSNorm": {"normalized_shape": 48},
    "BatchNorm1d": {"num_features": 48},
    "PReLU": {"num_parameters": 48},
    "GLU": {},
    "Softmax": {"dim": 1},
    "LogSoftmax": {"dim": 1},
    "Embedding": {"num_embeddings": 20, "embedding_dim": 48},
}
X = numpy.linspace(-8, 8, 4001, dtype=numpy.float32)
STEPS = 1000


class PartError(NamedTuple):
    """The largest difference from torch in float64, over the largest number there, in eps of the dtype."""

    part: str
    of: str
    float64: float
    float32: float
    torch_float32: float


def part_errors():
    """A row for each activation, layer, loss and optimiser."""
    rows = [_error("value and derivative", name, _activation, name) for name in NAMES]
    rows += [_error("outputs and gradients", name, _layer, name) for name in LAYERS]
    rows += [_error("value and gradient", str(case), _loss, case) for case in CASES]
    return rows + [_error(f"parameters after {STEPS:,} steps", name, _optimizer, name) for name in OPTIONS]


def _error(what, title, compute, part):
    """``compute(part, library, dtype)`` returns arrays, of numbers that all are of float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch's advice on KLDivLoss
        expected = compute(part, torch, numpy.float64)
        runs = [(nn, numpy.float64), (nn, numpy.float32), (torch, numpy.float32)]
        return PartError(title, what, *(_distance(compute(part, *run), expected, run[1]) for run in runs))


def _distance(arrays, expected, dtype):
    relative = [abs(numpy.asarray(one, "f8") - other).max() / abs(other).max() for one, other in zip(arrays, expected)]
    return float(max(relative)) / float(numpy.finfo(dtype).eps)


def _activation(name, library, dtype):
    x = X.astype(dtype)
    if library is nn:
        module = activation(name)
        return module(x).copy(), module.backward(numpy.ones_like(x))
    inputs = leaf(x)
    output = activation(name, torch.nn)(inputs)
    output.sum().backward()
    return output.detach().numpy(), inputs.grad.numpy()


def _layer(name, library, dtype):
    """Outputs and gradients for 37 rows, of inputs and parameters, where there are any."""
    row, settings, features = LAYER_CLASSES[name], LAYERS[name], 48
    options = {"dtype": dtype} if "dtype" in row.settings else {}
    module = row.module(**settings, **options)
    for number, parameter in enumerate(module.parameters()):
        parameter.data = draw(parameter.shape, numpy.float32, seed=number + 2).astype(dtype)
    x = numpy.arange(37) % 20 if row.takes_indices else draw((37, features), numpy.float32).astype(dtype)
    grad = draw(module.predict(x).shape, numpy.float32, seed=1).astype(dtype)
    if library is nn:
        output, grad_input = module(x).copy(), module.backward(grad)
        given = [] if row.takes_indices else [grad_input]
        return [output, *given, *(parameter.grad for parameter in module.parameters())]
    theirs, inputs = to_torch(module), tensor(x) if row.takes_indices else leaf(x)
    output = theirs(inputs)
    output.backward(tensor(grad))
    given = [] if row.takes_indices else [inputs.grad]
    return [each.detach().numpy() for each in (output, *given, *(parameter.grad for parameter in theirs.parameters()))]


def _loss(case, library, dtype):
    x, y = case.data(numpy.float32)
    x, y = x.astype(dtype), y.astype(dtype) if y.dtype.kind == "f" else y
    if library is nn:
        criterion = case.ours()
        return [criterion(x, y)], criterion.backward()
    inputs = leaf(x)
    value = case.theirs(dtype=dtype)(inputs, tensor(y))
    value.backward()
    return numpy.array([value.item()]), inputs.grad.numpy()


def _optimizer(row, library, dtype):
    """Steps by the same gradients, whatever the parameters have become."""
    start, grads = draw((5, 3), numpy.float32).astype(dtype), draw((STEPS, 5, 3), numpy.float32, 1).astype(dtype)
    if library is nn:
        layer = nn.Linear(3, 5, bias=False, dtype=dtype)
        layer.weight.data = start
        opt, parameter = optimizer(row, [layer.weight], 0.001), layer.weight
    else:
        parameter = leaf(start)
        opt = optimizer(row, [parameter], 0.001, torch.optim)
    for grad in grads:
        parameter.grad = grad if library is nn else tensor(grad)
        opt.step()
    return [parameter.data if library is nn else parameter.detach().numpy()]

"""The samples of PyTorch's own test suite, run in both libraries.

The installed torch brings them along: its ``module_db`` and ``optim_db`` list, for every module and optimiser, the
arguments and inputs that torch tests itself with. They know nothing of this library.
"""

from functools import cache
from typing import NamedTuple

import numpy
import torch
from helpers import (
    DTYPES,
    assert_close,
    assert_same_gradients,
    assert_same_parameters,
    draw,
    leaf,
    mlp,
    tensor,
    torch_dtype,
    twin,
)

from fastbp import nn, optim
from fastbp_kernels.functions.optimizers import OPTIMIZERS

# torch has none for these.
WITHOUT_SAMPLES = {"Identity", "Module", "ModuleDict", "ModuleList", "Parameter", "Sequential", "functional"} | {
    "init",
    "AlphaDropout", "Dropout", "Elementwise", "ElementwiseLoss", "Flatten", "Hardsigmoid", "QuantileLoss", "Residual",
    "utils",
}  # fmt: skip
MODULES = [name for name in nn.__all__ if name not in WITHOUT_SAMPLES]
OPTIMISERS = list(dict.fromkeys(row.name.partition(":")[0] for row in OPTIMIZERS if row.in_torch))
STEPS = 5


class Outcome(NamedTuple):
    """What came of one sample."""

    name: str  # of the module or optimiser
    sample: str  # torch's description
    dtype: str
    result: str  # "equal", or the text of our error


def outcomes():
    """The outcomes of all samples for everything that this library has, in float32 and float64."""
    return [outcome for name in (*MODULES, *OPTIMISERS) for dtype in DTYPES for outcome in outcomes_of(name, dtype)]


def outcomes_of(name, dtype):
    """The outcomes of the samples of one module or optimiser; raises AssertionError for one that differs."""
    dtype = numpy.dtype(dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [_outcome(name, sample, dtype) for sample in _samples(name, torch_dtype(dtype))]


@cache
def _databases():
    """The entries of torch's lists by name. The import takes seconds: only who asks for samples pays it."""
    from torch.testing._internal.common_modules import module_db
    from torch.testing._internal.common_optimizers import optim_db

    modules = {info.module_cls.__name__: info for info in module_db}
    optimisers = {info.optim_cls.__name__: info for info in optim_db}
    return modules, optimisers


def _samples(name, dtype):
    modules, optimisers = _databases()
    if name in OPTIMISERS:
        return optimisers[name].optim_inputs_func(device="cpu")
    info = modules[name]
    return info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=True)


def _outcome(name, sample, dtype):
    description, run = sample.desc or "default", _run_optimiser if name in OPTIMISERS else _run_module
    try:
        run(name, sample, dtype)
    except AssertionError as difference:
        raise AssertionError(f"{name}, {description}, {dtype}: {difference}") from None
    except (TypeError, ValueError) as error:
        return Outcome(name, description, str(dtype), str(error))
    return Outcome(name, description, str(dtype), "equal")


def _run_module(name, sample, dtype):
    """One forward and one backward of a module or loss, from the same parameters."""
    arguments, options = sample.constructor_input.args, sample.constructor_input.kwargs
    theirs = getattr(torch.nn, name)(*arguments, **options).to(torch_dtype(dtype))
    trainable = any(not isinstance(theirs, torch.nn.modules.loss._Loss) for _ in theirs.state_dict())
    options = {key: _array(value) for key, value in options.items()}
    ours = getattr(nn, name)(*map(_array, arguments), **options, **({"dtype": dtype} if trainable else {}))
    if trainable:
        ours.load_state_dict(theirs.state_dict())

    given = sample.forward_input
    inputs = [_array(input) for input in (*given.args, *given.kwargs.values())]
    takes_indices = inputs[0].dtype.kind in "iu"
    differentiated = (tensor if takes_indices else leaf)(inputs[0])
    others = (tensor(x) if isinstance(x, numpy.ndarray) else x for x in inputs[1:])
    expected = theirs(differentiated, *others)
    assert_close(numpy.asarray(ours(*inputs), dtype), expected)

    if isinstance(ours, nn.Module):
        grad_output = torch.randn_like(expected)
        expected.backward(grad_output)
        grad_input = ours.backward(grad_output.numpy())
        if not takes_indices:
            assert_close(grad_input, differentiated.grad)
        assert_same_gradients(ours, theirs)
    else:
        grad_output = torch.randn_like(expected) if ours.reduction == "none" else None
        expected.backward(grad_output)
        grad = ours.backward(None if grad_output is None else grad_output.numpy())
        assert_close(grad, differentiated.grad)


def _array(value):
    """What we take for something that torch takes."""
    return value.detach().numpy() if isinstance(value, torch.Tensor) else value


def _run_optimiser(name, sample, dtype):
    """Some steps of training from the same parameters, compared after each."""
    model = mlp(5, 17, 3, dtype=dtype)
    other = twin(model)
    ours = getattr(optim, name)(model.parameters(), **sample.kwargs)
    theirs = getattr(torch.optim, name)(other.parameters(), **sample.kwargs)
    x, target, criterion = draw((13, 5), dtype), draw((13, 3), dtype, seed=1), nn.MSELoss()
    for _ in range(STEPS):
        ours.zero_grad()
        theirs.zero_grad()
        criterion(model(x), target)
        model.backward(criterion.backward())
        torch.nn.functional.mse_loss(other(tensor(x)), tensor(target)).backward()
        ours.step()
        theirs.step()
        assert_same_parameters(model, other)

"""What several test files share: the same network in both libraries, layouts, snapshots, differences.

torch is imported by the functions that need it: children that test fastbp alone would wait for it.
"""

import os
from itertools import pairwise
from pathlib import Path

import numpy

import fastbp
import fastbp_kernels
from fastbp import nn
from fastbp.nn.activations import activation_of_row

DTYPES = (numpy.float32, numpy.float64)
ACTIVATIONS = ("ReLU", "Tanh", "Sigmoid")

# Layouts in which a user's array may come. Each takes a C-ordered array and returns equal values.
LAYOUTS = {}


def layout(function):
    LAYOUTS[function.__name__] = function
    return function


@layout
def contiguous(array):
    return array.copy()


@layout
def fortran(array):
    return numpy.asfortranarray(array)


@layout
def every_other_column(array):
    wide = numpy.full((*array.shape[:-1], 2 * array.shape[-1]), numpy.nan, dtype=array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


@layout
def every_other_row(array):
    tall = numpy.full((2 * array.shape[0], *array.shape[1:]), numpy.nan, dtype=array.dtype)
    tall[::2] = array
    return tall[::2]


@layout
def reversed_rows(array):
    return array[::-1].copy()[::-1]


@layout
def broadcast_row(array):
    """All rows are one row in memory (stride 0): the values of the first row, everywhere."""
    return numpy.broadcast_to(array[:1], array.shape)


@layout
def read_only(array):
    frozen = array.copy()
    frozen.flags.writeable = False
    return frozen


@layout
def unaligned(array):
    raw = numpy.empty(array.nbytes + 1, dtype=numpy.uint8)
    shifted = raw[1:].view(array.dtype).reshape(array.shape)
    shifted[...] = array
    assert not shifted.flags.aligned
    return shifted


def child_environment(*folders, **variables):
    """The environment for a Python that imports from ``folders`` and then from where this one found the packages."""
    packages = (Path(package.__file__).parents[1] for package in (fastbp, fastbp_kernels))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*folders, *packages))), **variables}


def draw(shape, dtype, seed=0):
    """Standard normal numbers."""
    return numpy.asarray(numpy.random.default_rng(seed).standard_normal(shape), dtype=dtype)


def torch_dtype(dtype):
    """torch's name for a dtype of NumPy."""
    import torch

    return getattr(torch, numpy.dtype(dtype).name)


def tensor(array):
    """A torch tensor with its own memory."""
    import torch

    return torch.from_numpy(numpy.array(array))


def leaf(array):
    """A torch tensor whose gradient torch records."""
    return tensor(array).requires_grad_()


def assert_close(actual, expected):
    """``torch.testing.assert_close`` at its own tolerances in float32, at 1e-10 relative in float64; NaN equals NaN."""
    import torch

    actual, expected = torch.as_tensor(numpy.array(actual)), torch.as_tensor(expected).detach()
    tight = {"rtol": 1e-10, "atol": 1e-13} if actual.dtype == torch.float64 else {}
    torch.testing.assert_close(actual, expected, equal_nan=True, **tight)


def mlp(*widths, activation="ReLU", dtype=numpy.float32, seed=0, bias=True):
    """Linear layers of these widths with the activation after each but the last."""
    rng = numpy.random.default_rng(seed)
    layers = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias, rng=rng, dtype=dtype), activation_of_row(activation)]
    return nn.Sequential(*layers[:-1])


def twin(module):
    """The same network in torch, from the same weights, without the library's own converter."""
    import torch

    if isinstance(module, nn.Sequential):
        return torch.nn.Sequential(*(twin(child) for child in module))
    if not isinstance(module, nn.Linear):
        settings = (getattr(module, name) for name in getattr(module, "settings", ()))
        return getattr(torch.nn, type(module).__name__)(*settings)
    out_features, in_features = module.weight.shape
    other = torch.nn.Linear(in_features, out_features, module.bias is not None, dtype=torch_dtype(module.weight.dtype))
    with torch.no_grad():
        for mine, theirs in zip(module.parameters(), other.parameters(), strict=True):
            theirs.copy_(tensor(mine.data))
    return other


def oracle_network(module):
    """The same network as :mod:`oracles` writes it."""
    layers = []
    for child in module:
        if isinstance(child, nn.Linear):
            bias = None if child.bias is None else child.bias.data.astype(numpy.float64)
            layers.append((child.weight.data.astype(numpy.float64), bias))
        else:
            layers.append(type(child).__name__)
    return layers


def assert_same_parameters(model, torch_module):
    for mine, theirs in zip(model.parameters(), torch_module.parameters(), strict=True):
        assert_close(mine.data, theirs)


def assert_same_gradients(model, torch_module):
    for mine, theirs in zip(model.parameters(), torch_module.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
        if mine.grad is not None:
            assert_close(mine.grad, theirs.grad)


def snapshot(module):
    """Copies of every parameter and gradient, to be compared with later ones."""
    return {name: (p.data.copy(), gradient(p)) for name, p in module.named_parameters()}


def gradient(parameter):
    """A copy of the gradient, or None."""
    return None if parameter.grad is None else parameter.grad.copy()


def assert_unchanged(module, before):
    after = snapshot(module)
    assert after.keys() == before.keys()
    for name, (data, grad) in after.items():
        numpy.testing.assert_array_equal(data, before[name][0], err_msg=f"{name}.data")
        numpy.testing.assert_array_equal(grad, before[name][1], err_msg=f"{name}.grad")


def owner(array):
    """The array at the end of the chain of views that ``array`` belongs to."""
    while isinstance(array.base, numpy.ndarray):
        array = array.base
    return array


# Central differences of order eight: with this step the formula's own error is below 1e-20 and rounding stays near
# 1e-12, so that 1e-10 can be asked of a gradient. Inputs must keep ReLU's kink out of reach of four steps.
_STENCIL = ((1, 4 / 5), (2, -1 / 5), (3, 4 / 105), (4, -1 / 280))
STEP = 5e-4


def finite_difference(function, array):
    """The gradient of the scalar ``function()`` with respect to ``array``, which is changed in place and restored."""
    gradient = numpy.empty(array.shape)
    for index in numpy.ndindex(array.shape):
        value, slope = array[index], 0.0
        for distance, weight in _STENCIL:
            array[index] = value + distance * STEP
            above = function()
            array[index] = value - distance * STEP
            slope += weight * (above - function())
        array[index] = value
        gradient[index] = slope / STEP
    return gradient


def assert_gradient(actual, expected):
    """Equal to 1e-10 of the gradient's largest element."""
    numpy.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10 * numpy.abs(expected).max(initial=0.0))

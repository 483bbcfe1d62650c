"""The functions of ``nn.init`` that fill in place, to be called alike."""

import inspect

import numpy
import torch

from fastbp import nn

# Arguments that have no default.
ARGUMENTS = {"constant_": (0.5,), "sparse_": (0.25,)}


def signature(function):
    return inspect.signature(function).parameters


FILLS = sorted(name for name in torch.nn.init.__all__ if name.endswith("_") and name != "dirac_")
DRAWING = [name for name in FILLS if "generator" in signature(getattr(torch.nn.init, name))]


def fill(name, tensor, **options):
    return getattr(nn.init, name)(tensor, *ARGUMENTS.get(name, ()), **options)


def weight(dtype=numpy.float32, shape=(6, 8)):
    return nn.Parameter(numpy.full(shape, 7, dtype))

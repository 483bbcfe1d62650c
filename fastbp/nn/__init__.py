"""Modules with the names and meanings of ``torch.nn``, for fully connected networks."""

from fastbp.nn import init
from fastbp.nn.activations import ReLU, Sigmoid, Tanh
from fastbp.nn.container import ModuleList
from fastbp.nn.identity import Identity
from fastbp.nn.linear import Linear
from fastbp.nn.losses import MSELoss
from fastbp.nn.module import Module
from fastbp.nn.parameter import Parameter
from fastbp.nn.sequential import Sequential

__all__ = [
    "Identity",
    "Linear",
    "MSELoss",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "init",
]

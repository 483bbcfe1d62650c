"""Modules with the names and meanings of ``torch.nn``, for fully connected networks."""

from typing import TYPE_CHECKING

from fastbp.nn import init, utils
from fastbp.nn.activations import GELU, ReLU, Sigmoid, Tanh
from fastbp.nn.container import ModuleList
from fastbp.nn.identity import Identity
from fastbp.nn.linear import Linear
from fastbp.nn.losses import CrossEntropyLoss, MSELoss
from fastbp.nn.module import Module
from fastbp.nn.parameter import Parameter
from fastbp.nn.sequential import Sequential
from fastbp.validation.missing import missing

__all__ = [
    "GELU",
    "CrossEntropyLoss",
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
    "utils",
]

if not TYPE_CHECKING:  # what is missing is missing for a type checker too
    __getattr__ = missing(
        __name__,
        __all__,
        (
            "AlphaDropout", "BCELoss", "BCEWithLogitsLoss", "BatchNorm1d", "Bilinear", "CELU", "Conv1d", "Conv2d",
            "CrossEntropyLoss", "Dropout", "ELU", "Embedding", "Flatten", "GELU", "GRU", "GaussianNLLLoss",
            "Hardsigmoid", "Hardswish", "Hardtanh", "HuberLoss", "KLDivLoss", "L1Loss", "LSTM", "LayerNorm",
            "LeakyReLU", "LogSigmoid", "LogSoftmax", "MaxPool2d", "Mish", "ModuleDict", "MultiheadAttention", "NLLLoss",
            "PReLU", "ParameterDict", "ParameterList", "PoissonNLLLoss", "RNN", "ReLU6", "SELU", "SiLU", "SmoothL1Loss",
            "Softmax", "Softplus", "Softsign", "Unflatten", "functional",
        ),
    )  # fmt: skip

"""Modules with the names and meanings of ``torch.nn``, for fully connected networks."""

from typing import TYPE_CHECKING

from fastbp.nn import functional, init, utils
from fastbp.nn.activations import (
    CELU,
    ELU,
    GELU,
    SELU,
    Elementwise,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    Threshold,
)
from fastbp.nn.batch_norm import BatchNorm1d
from fastbp.nn.container import ModuleDict, ModuleList
from fastbp.nn.dropout import AlphaDropout, Dropout
from fastbp.nn.embedding import Embedding
from fastbp.nn.flatten import Flatten
from fastbp.nn.glu import GLU
from fastbp.nn.identity import Identity
from fastbp.nn.layer_norm import LayerNorm
from fastbp.nn.linear import Linear
from fastbp.nn.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    ElementwiseLoss,
    GaussianNLLLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    PoissonNLLLoss,
    QuantileLoss,
    SmoothL1Loss,
)
from fastbp.nn.module import Module
from fastbp.nn.parameter import Parameter
from fastbp.nn.prelu import PReLU
from fastbp.nn.residual import Residual
from fastbp.nn.rms_norm import RMSNorm
from fastbp.nn.sequential import Sequential
from fastbp.nn.softmax import LogSoftmax, Softmax
from fastbp.validation.missing import missing

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "AlphaDropout",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "CrossEntropyLoss",
    "Dropout",
    "Elementwise",
    "ElementwiseLoss",
    "Embedding",
    "Flatten",
    "GaussianNLLLoss",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "PReLU",
    "Parameter",
    "PoissonNLLLoss",
    "QuantileLoss",
    "RMSNorm",
    "ReLU",
    "ReLU6",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "functional",
    "init",
    "utils",
]

if not TYPE_CHECKING:  # what is missing is missing for a type checker too
    __getattr__ = missing(
        __name__,
        __all__,
        (
            "Bilinear", "Conv1d", "Conv2d", "GRU", "LSTM", "MaxPool2d", "MultiheadAttention",
            "ParameterDict", "ParameterList", "RNN", "Unflatten",
        ),
    )  # fmt: skip

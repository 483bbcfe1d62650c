"""Activations: elementwise, for arrays of any shape."""

from fastbp.nn.activations.base import Activation
from fastbp.nn.activations.common import GELU, ReLU, Sigmoid, Tanh
from fastbp.nn.activations.own import Elementwise
from fastbp.nn.activations.piecewise import CELU, ELU, SELU, Hardsigmoid, Hardswish, Hardtanh, LeakyReLU, ReLU6
from fastbp.nn.activations.shrinking import Hardshrink, Softshrink, Tanhshrink, Threshold
from fastbp.nn.activations.smooth import LogSigmoid, Mish, SiLU, Softplus, Softsign

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "Activation",
    "Elementwise",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "activation_classes",
    "activation_of_row",
]

_CLASSES: tuple[type[Activation], ...] = (
    ReLU, Tanh, Sigmoid, GELU, LeakyReLU, ReLU6, ELU, CELU, SELU, SiLU, Mish, Softplus, Softsign, Hardtanh, Hardsigmoid,
    Hardswish, LogSigmoid, Hardshrink, Softshrink, Tanhshrink, Threshold,
)  # fmt: skip


def activation_of_row(name: str) -> Activation:
    """Return a module of the library for a row of the registry."""
    kind, _, form = name.partition(":")
    found = next(each for each in _CLASSES if each.__name__ == kind)
    return found(**dict.fromkeys(found.settings, form)) if form else found(**found.example)


def activation_classes() -> tuple[type[Activation], ...]:
    """Return the library's classes of activations with a row: several may share one, and one may have several."""
    return _CLASSES

"""Passes that remember themselves: tensors, the functions of NumPy that are recorded, and gradients."""

from fastbp.autograd.gradients import grad
from fastbp.autograd.node import Leaf, Node, tick
from fastbp.autograd.protocols import Tensor
from fastbp.autograd.recording import enable_grad, is_grad_enabled, no_grad
from fastbp.autograd.special import expit, log_softmax, logsumexp, softmax
from fastbp.autograd.tensor import tensor, wrap

__all__ = [
    "Leaf",
    "Node",
    "Tensor",
    "enable_grad",
    "expit",
    "grad",
    "is_grad_enabled",
    "log_softmax",
    "logsumexp",
    "no_grad",
    "softmax",
    "tensor",
    "tick",
    "wrap",
]

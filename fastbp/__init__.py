"""Backpropagation for the CPU: PyTorch's ``nn`` and ``optim`` for fully connected networks over compiled kernels."""

from fastbp import datasets, nn, optim
from fastbp.convert import from_torch, to_torch
from fastbp.training import History, compute_accuracy, train_model

__version__ = "0.1.0"

__all__ = [
    "History",
    "__version__",
    "compute_accuracy",
    "datasets",
    "from_torch",
    "nn",
    "optim",
    "to_torch",
    "train_model",
]

"""Backpropagation for the CPU: PyTorch's ``nn`` and ``optim`` for fully connected networks over compiled kernels."""

from fastbp import datasets, nn, optim
from fastbp.autograd import Tensor, enable_grad, grad, is_grad_enabled, no_grad, tensor
from fastbp.checkpoint.file_format import CheckpointError
from fastbp.checkpoint.save_load import Checkpoint, load, save
from fastbp.cross_validation import CrossValidation, cross_validate
from fastbp.engine.jacobian import jacobian
from fastbp.ensemble import Ensemble
from fastbp.interop.c_source import to_c
from fastbp.interop.onnx_read import from_onnx
from fastbp.interop.onnx_write import to_onnx
from fastbp.interop.safetensors_write import to_safetensors
from fastbp.interop.torch import from_torch, to_torch
from fastbp.live_plot import LivePlot
from fastbp.model_summary import summary
from fastbp.runtime.threads import get_num_threads, set_num_threads
from fastbp.training.accuracy import compute_accuracy
from fastbp.training.early_stopping import EarlyStopping
from fastbp.training.history import History
from fastbp.training.loop import TrainingInterrupted
from fastbp.training.many import TrainingsFailed, TrainingsInterrupted, train_models
from fastbp.training.many_job import TrainingJob
from fastbp.training.nonfinite import DivergenceError, DivergenceWarning
from fastbp.training.row_blocks import RowBlocks
from fastbp.training.train_model import train_model
from fastbp.version import __version__
from fastbp.warmup import warmup

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CrossValidation",
    "DivergenceError",
    "DivergenceWarning",
    "EarlyStopping",
    "Ensemble",
    "History",
    "LivePlot",
    "RowBlocks",
    "Tensor",
    "TrainingInterrupted",
    "TrainingJob",
    "TrainingsFailed",
    "TrainingsInterrupted",
    "__version__",
    "compute_accuracy",
    "cross_validate",
    "datasets",
    "enable_grad",
    "from_onnx",
    "from_torch",
    "get_num_threads",
    "grad",
    "is_grad_enabled",
    "jacobian",
    "load",
    "nn",
    "no_grad",
    "optim",
    "save",
    "set_num_threads",
    "summary",
    "tensor",
    "to_c",
    "to_onnx",
    "to_safetensors",
    "to_torch",
    "train_model",
    "train_models",
    "warmup",
]

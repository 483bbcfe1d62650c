"""Optimisers with the names and meanings of ``torch.optim``."""

from typing import TYPE_CHECKING

from fastbp.optim import lr_scheduler
from fastbp.optim.adadelta import Adadelta
from fastbp.optim.adagrad import Adagrad
from fastbp.optim.adam import Adam, AdamW
from fastbp.optim.adamax import Adamax
from fastbp.optim.lion import Lion
from fastbp.optim.minimize import minimize
from fastbp.optim.nadam import NAdam
from fastbp.optim.optimizer import Optimizer
from fastbp.optim.radam import RAdam
from fastbp.optim.rmsprop import RMSprop
from fastbp.optim.rprop import Rprop
from fastbp.optim.sgd import SGD
from fastbp.validation.missing import missing

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "lr_scheduler",
    "minimize",
]

if not TYPE_CHECKING:  # what is missing is missing for a type checker too
    __getattr__ = missing(
        __name__,
        __all__,
        ("ASGD", "Adafactor", "LBFGS", "Muon", "SparseAdam", "swa_utils", "swap_in_optimizer_params_and_state"),
    )

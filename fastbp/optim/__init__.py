"""Optimisers with the names and meanings of ``torch.optim``."""

from typing import TYPE_CHECKING

from fastbp.optim.adam import Adam
from fastbp.optim.optimizer import Optimizer
from fastbp.optim.sgd import SGD
from fastbp.validation.missing import missing

__all__ = ["SGD", "Adam", "Optimizer"]

if not TYPE_CHECKING:  # what is missing is missing for a type checker too
    __getattr__ = missing(
        __name__,
        __all__,
        (
            "ASGD", "Adadelta", "Adafactor", "Adagrad", "AdamW", "Adamax", "LBFGS", "Muon", "NAdam",
            "RAdam", "RMSprop", "Rprop", "SparseAdam", "lr_scheduler", "swa_utils",
            "swap_in_optimizer_params_and_state",
        ),
    )  # fmt: skip

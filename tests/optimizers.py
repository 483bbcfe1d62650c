"""Optimisers of every row of the registry, and their twins."""

import torch
import twins

from fastbp import optim
from fastbp_kernels.functions.optimizers import OPTIMIZER_CODES, OPTIMIZERS

# What a row of an optimiser is for.
OPTIONS = {
    "SGD": {},
    "SGD:decay": {"weight_decay": 0.1, "maximize": True},
    "SGD:momentum": {"momentum": 0.9, "dampening": 0.25, "weight_decay": 0.01},
    "Adam": {"weight_decay": 0.01},
    "Adam:amsgrad": {"amsgrad": True, "betas": (0.5, 0.9), "maximize": True},
    "AdamW": {},
    "AdamW:amsgrad": {"amsgrad": True, "weight_decay": 0.1},
    "NAdam": {"weight_decay": 0.1, "decoupled_weight_decay": True},
    "RAdam": {"weight_decay": 0.01},
    "Adamax": {"weight_decay": 0.01},
    "RMSprop": {},
    "RMSprop:momentum": {"momentum": 0.5, "weight_decay": 0.01},
    "RMSprop:centered": {"centered": True},
    "RMSprop:centered,momentum": {"centered": True, "momentum": 0.9, "maximize": True},
    "Adagrad": {"lr_decay": 0.01, "initial_accumulator_value": 0.1},
    "Adadelta": {"weight_decay": 0.01},
    "Rprop": {"etas": (0.4, 1.3), "step_sizes": (1e-5, 0.1)},
    "Lion": {"betas": (0.8, 0.95), "weight_decay": 0.1},
}


def optimizer(row, parameters, lr, library=optim):
    """An optimiser of a row, and its twin: torch's, or where the row says that torch has none the one of ``twins``."""
    if library is torch.optim and not OPTIMIZERS[OPTIMIZER_CODES[row]].in_torch:
        library = twins
    opt = getattr(library, row.partition(":")[0])(parameters, lr=lr, **OPTIONS[row])
    if library is optim:
        assert OPTIMIZERS[opt.code].name == row
    return opt

"""Compile everything ahead: for images, for CI, and for whoever does not want to wait at the first training."""

from __future__ import annotations

import numpy as np

from fastbp import nn, optim
from fastbp.arrays import FLOAT_DTYPES
from fastbp.trainers import EngineTrainer, ModuleTrainer, Rows


def warmup() -> None:
    """Have every kernel ready, from the cache or compiled into it; some 20 seconds where nothing is cached."""
    for dtype in FLOAT_DTYPES:
        rows = Rows(np.zeros((2, 1), dtype), np.zeros((2, 1), dtype))
        for activation in (nn.ReLU, nn.Tanh, nn.Sigmoid):
            model = nn.Sequential(nn.Linear(1, 1, dtype=dtype), activation(), nn.Linear(1, 1, dtype=dtype))
            for trainer in (EngineTrainer, ModuleTrainer):
                opt = optim.SGD(model.parameters(), lr=0.1)
                list(trainer(model, nn.MSELoss(), opt, rows, rows, 1).run(1, None))
            model.backward(model.forward(rows.input))
            for module in model:
                module.predict(rows.input)

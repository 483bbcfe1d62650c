"""The kind of a training: what the engine's checks and its division of labour go by, besides network and optimiser."""

from __future__ import annotations

from typing import Any

from fastbp.nn.losses.kernel_loss import KernelLoss
from fastbp.runtime.threads import thread_limits
from fastbp_kernels.network.arguments import Rows


def what_counts(criterion: KernelLoss, train: Rows, validation: Rows | None, mini_batch_size: int) -> tuple[Any, ...]:
    """Return what a session is found from, besides the network and the optimiser."""
    of_validation = None if validation is None else _kind(validation)
    return _kind(train), of_validation, mini_batch_size, criterion._reduction, thread_limits()


def _kind(rows: Rows) -> tuple[Any, ...]:
    """Return what the engine needs to know of rows before it takes others like them."""
    input, target = rows.input, rows.target
    return type(input), input.shape, target.shape, input.dtype, target.dtype

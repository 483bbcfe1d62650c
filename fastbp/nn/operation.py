"""What a module other than ``Linear`` tells the engine's plan about itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastbp.nn.parameter import Parameter


class ActivationCall(NamedTuple):
    """An activation, which the engine computes behind a row's operation.

    Attributes
    ----------
    code : int
        Of ``fastbp_kernels.functions.activations``.
    saves_input : bool
        Whether its derivative is a function of its input, else of its output.
    flop : int
        Operations of matrix products that take as long as one number.
    scalars : tuple of float
        As the code's row names them.
    addresses : callable or None
        For ``OWN``: returns those of value and derivative for a dtype.
    keeps_derivative : bool
        Whether the engine replaces the input by the derivative there.
    """

    code: int
    saves_input: bool
    flop: int
    scalars: tuple[float, ...] = ()
    addresses: Callable[[np.dtype[Any]], tuple[int, int]] | None = None
    keeps_derivative: bool = False


class Operation(NamedTuple):
    """A row of the engine's table without a product of matrices.

    Attributes
    ----------
    code : int
        Of ``fastbp_kernels.network.table``: COPY, LAYER_NORM, ...
    features : int or None
        Those that it takes; None for any number.
    weight, bias : Parameter or None
    scalars : tuple of float
        What ``table`` says for the code.
    takes_activation : bool
        Whether an activation behind it may be computed in the same row: its backward does not need its output.
    """

    code: int
    features: int | None = None
    weight: Parameter | None = None
    bias: Parameter | None = None
    scalars: tuple[float, ...] = ()
    takes_activation: bool = True


NOTHING = Operation(-1)  # of a module whose output is its input
FLATTEN = Operation(-2)  # of one that makes rows of it, which rows are already

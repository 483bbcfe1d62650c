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
    layer : str or None
        The name of its row in ``fastbp_kernels.layers.registry``; None for a module that computes nothing of rows.
    features : int or None
        Those that it takes; None for any number.
    weight, bias : Parameter or None
    scalars : tuple of float
        Those that the row names. Its integers are ``Module._integers``.
    takes_rows_only : bool
        Whether inputs (..., i) of other than two dimensions are not rows of i features to the module.
    out_features : callable or None
        Returns the number of outputs for one of inputs, or 0 where there is none; None where it is the same.
    """

    layer: str | None
    features: int | None = None
    weight: Parameter | None = None
    bias: Parameter | None = None
    scalars: tuple[float, ...] = ()
    takes_rows_only: bool = False
    out_features: Callable[[int], int] | None = None


NOTHING = Operation(None)  # of a module whose output is its input
FLATTEN = Operation(None, takes_rows_only=True)  # of one that makes rows of it, which rows are already

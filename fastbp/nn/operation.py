"""What a module other than ``Linear`` and the activations tells the engine's plan about itself."""

from __future__ import annotations

from typing import NamedTuple

from fastbp.nn.parameter import Parameter


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

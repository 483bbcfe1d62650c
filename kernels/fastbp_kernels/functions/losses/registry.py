"""The registry of losses.

A loss's code is its place in ``LOSSES``. What it is called with lies in one vector, its settings: room for ``SCALARS``
scalars, then its vectors, one behind the other. A vector of a loss over elements has a number for each element of
``SLAB`` rows, so that a slab is one run of numbers; one of a loss over rows has a number for each class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from llvmlite import ir

from fastbp_kernels.functions.losses import formulas

SLAB = 16  # rows whose losses are summed together
SCALARS = 4


class Loss(NamedTuple):
    """A row of the registry.

    Attributes
    ----------
    name : str
        That of its class in ``fastbp.nn``, with what distinguishes forms of one class behind a colon.
    target : "values" or "classes"
        Whether a target is an array like the prediction or a class index a row.
    over : "elements" or "rows"
        What has a loss of its own, of which ``reduction="mean"`` takes the mean.
    slope : float
        What the gradient is a multiple of: ``slope * scale``, with the scale of the loss itself.
    value : callable or None
        ``value(v, x, y, *scalars, *vectors)`` emits the loss of vectors, as one factor or two; None over rows, which
        have an entry in ``_EMIT`` of ``row_losses``.
    gradient : callable or None
        ``gradient(v, x, y, *scalars, *vectors)`` emits the derivative over ``slope``.
    scalars, vectors : tuple of str
        The attributes of the class that are its settings.
    in_torch : bool
        Whether ``torch.nn`` has a class of that name.
    """

    name: str
    target: Literal["values", "classes"]
    over: Literal["elements", "rows"]
    slope: float = 1.0
    value: Callable[..., formulas.Factors] | None = None
    gradient: Callable[..., ir.Value] | None = None
    scalars: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()
    in_torch: bool = True


def _elements(
    name: str, value: Callable[..., formulas.Factors], gradient: Callable[..., ir.Value], scalars: tuple[str, ...] = (),
    vectors: tuple[str, ...] = (), slope: float = 1.0, *, in_torch: bool = True,
) -> Loss:  # fmt: skip
    return Loss(name, "values", "elements", slope, value, gradient, scalars, vectors, in_torch)


_POISSON = ("full", "eps")
LOSSES = (
    _elements("MSELoss", formulas.squared, formulas.half_squared_derivative, slope=2.0),
    Loss("CrossEntropyLoss", "classes", "rows", scalars=("label_smoothing", "largest"), vectors=("weight",)),
    Loss("CrossEntropyLoss:probabilities", "values", "rows", scalars=("label_smoothing",), vectors=("weight",)),
    Loss("NLLLoss", "classes", "rows", vectors=("weight",)),
    _elements("L1Loss", formulas.absolute, formulas.absolute_derivative),
    _elements("SmoothL1Loss", formulas.smooth_l1, formulas.smooth_l1_derivative, ("beta",)),
    _elements("HuberLoss", formulas.huber, formulas.huber_derivative, ("delta",)),
    _elements("BCELoss", formulas.bce, formulas.bce_derivative, vectors=("weight",)),
    _elements(
        "BCEWithLogitsLoss", formulas.bce_with_logits, formulas.bce_with_logits_derivative,
        vectors=("weight", "pos_weight"),
    ),
    _elements(
        "BCEWithLogitsLoss:clipped", formulas.clipped_bce_with_logits, formulas.clipped_bce_with_logits_derivative,
        ("eps",), ("weight", "pos_weight"),
    ),
    _elements("PoissonNLLLoss", formulas.poisson_of_log, formulas.poisson_of_log_derivative, _POISSON),
    _elements("PoissonNLLLoss:rate", formulas.poisson, formulas.poisson_derivative, _POISSON),
    _elements("KLDivLoss", formulas.kl_div, formulas.kl_div_derivative),
    _elements("KLDivLoss:log_target", formulas.kl_div_of_log, formulas.kl_div_of_log_derivative),
    _elements("QuantileLoss", formulas.quantile, formulas.quantile_derivative, vectors=("levels",), in_torch=False),
)  # fmt: skip
LOSS_CODES = {row.name: code for code, row in enumerate(LOSSES)}
FIRST_ADDRESS = 1 << 12  # from here on a code is the address of a loop of the user's: no code lies in a first page

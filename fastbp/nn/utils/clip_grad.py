"""Clipping of gradients, as in ``torch.nn.utils``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf, isfinite, isnan

import numpy as np

from fastbp.nn.parameter import Parameter
from fastbp.nn.utils.gradients import gradients_of
from fastbp.runtime.model_lock import holder
from fastbp.validation.arrays import Array
from fastbp.validation.scalars import require_number

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


@holder
def clip_grad_norm_(
    parameters: Parameter | Iterable[Parameter], max_norm: float, norm_type: float = 2.0,
    error_if_nonfinite: bool = False, foreach: bool | None = None,
) -> float:  # fmt: skip
    """Scale the gradients of ``parameters`` down where their norm, as if they were one vector, is above ``max_norm``.

    A parameter whose ``grad`` is None is passed by; the norm of none is 0.
    They are multiplied by ``max_norm / (norm + 1e-6)``, or by 1 where that is more, as by
    ``torch.nn.utils.clip_grad_norm_``. The norm is computed in float64, without squares or powers that leave its range.

    Parameters
    ----------
    parameters : iterable of Parameter, or one
    max_norm : float
        0 or more.
    norm_type : float
        2, another number above 0, or infinity for the largest gradient.
    error_if_nonfinite : bool
        Whether to raise RuntimeError, before anything changes, where the norm is NaN or infinite.
    foreach : None or bool
        As PyTorch writes it; it changes nothing.

    Returns
    -------
    float
        The norm as it was.
    """
    gradients = gradients_of(parameters, "clip_grad_norm_")
    limit = require_limit(max_norm, "clip_grad_norm_", "max_norm")
    power = 2.0 if norm_type == 2.0 else require_number(norm_type, "clip_grad_norm_", "norm_type")
    if not power > 0:
        raise ValueError(f"clip_grad_norm_ takes norm_type as a number above 0, got {norm_type!r}")
    lock = gradients.lock
    taken = lock.acquire()
    try:
        norm = gradients.norm() if power == 2.0 else _norm(gradients.vectors, power)
        if error_if_nonfinite and not isfinite(norm):
            raise RuntimeError(
                f"clip_grad_norm_ takes gradients with a finite norm, got one of {norm}; pass error_if_nonfinite=False "
                "to scale them all the same"
            )
        gradients.clip(norm, limit)
        return norm
    finally:
        taken.release()


@holder
def clip_grad_value_(
    parameters: Parameter | Iterable[Parameter], clip_value: float, foreach: bool | None = None
) -> None:
    """Bring every gradient of ``parameters`` into the range from ``-clip_value`` to ``clip_value``; NaN stays.

    Parameters
    ----------
    parameters : iterable of Parameter, or one
    clip_value : float
        0 or more.
    foreach : None or bool
        As PyTorch writes it; it changes nothing.
    """
    gradients = gradients_of(parameters, "clip_grad_value_")
    limit = require_limit(clip_value, "clip_grad_value_", "clip_value")
    lock = gradients.lock
    taken = lock.acquire()
    try:
        for grad in gradients.vectors:
            np.clip(grad, -limit, limit, out=grad)
    finally:
        taken.release()


def require_limit(value: float, owner: str, name: str) -> float:
    """Return ``value`` as a float of 0 or more, which may be infinity."""
    if type(value) is float and value >= 0.0:
        return value
    number = require_number(value, owner, name)
    if isnan(number) or number < 0:
        raise ValueError(f"{owner} takes {name} of 0 or more, got {value!r}")
    return number


def _norm(grads: Sequence[Array], power: float) -> float:
    sizes = np.abs(np.concatenate([np.zeros(1), *grads]))  # in float64
    largest = float(sizes.max())
    if power == inf or not 0 < largest < inf:
        return largest
    with np.errstate(all="ignore"):  # a norm beyond the numbers is infinite
        return largest * float(np.sum((sizes / largest) ** power) ** (1 / power))

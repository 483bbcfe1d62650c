"""Initialisers: callables ``(shape, rng, dtype) -> ndarray`` for weights of shape (out_features, in_features).

They are for ``Linear(..., init=...)``. The functions whose names end in ``_`` are those of ``torch.nn.init`` and fill a
parameter that is there already.

``fan_in`` is in_features and ``fan_out`` is out_features. "Xavier" is Glorot and Bengio, "Understanding the difficulty
of training deep feedforward neural networks" (AISTATS 2010); "Kaiming" is He et al., "Delving deep into rectifiers"
(ICCV 2015).
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastbp.nn.fill import (
    constant_,
    eye_,
    kaiming_normal_,
    kaiming_uniform_,
    normal_,
    ones_,
    orthogonal_,
    sparse_,
    trunc_normal_,
    uniform_,
    xavier_normal_,
    xavier_uniform_,
    zeros_,
)
from fastbp.nn.gains import calculate_gain
from fastbp.validation.arrays import Array
from fastbp.validation.missing import missing
from fastbp.validation.scalars import is_number, require_finite

__all__ = [
    "Init",
    "Initializer",
    "calculate_gain",
    "constant_",
    "default_weight",
    "eye_",
    "gain",
    "kaiming_normal",
    "kaiming_normal_",
    "kaiming_uniform",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal",
    "xavier_normal_",
    "xavier_uniform",
    "xavier_uniform_",
    "zeros",
    "zeros_",
]

Initializer: TypeAlias = Callable[[tuple[int, int], np.random.Generator, np.dtype[Any]], Array]
Init: TypeAlias = str | Initializer | None

gain = calculate_gain


def default_weight(shape: tuple[int, int], rng: np.random.Generator, dtype: np.dtype[Any]) -> Array:
    """Draw from U(-b, b) with b = 1 / sqrt(fan_in), as PyTorch does for the weight and the bias of ``Linear``."""
    return _uniform(1 / sqrt(shape[1]), shape, rng, dtype)


def zeros(shape: tuple[int, int], rng: np.random.Generator, dtype: np.dtype[Any]) -> Array:
    """Return zeros."""
    return np.zeros(shape, dtype)


def xavier_normal(gain: float = 1.0) -> Initializer:
    """Return an initialiser that draws from N(0, s) with s = gain * sqrt(2 / (fan_in + fan_out))."""
    scale = _checked_gain("xavier_normal", gain)
    return lambda shape, rng, dtype: _normal(scale * sqrt(2 / sum(shape)), shape, rng, dtype)


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Return an initialiser that draws from U(-b, b) with b = gain * sqrt(6 / (fan_in + fan_out))."""
    scale = _checked_gain("xavier_uniform", gain)
    return lambda shape, rng, dtype: _uniform(scale * sqrt(6 / sum(shape)), shape, rng, dtype)


def kaiming_normal(gain: float = sqrt(2)) -> Initializer:
    """Return an initialiser that draws from N(0, s) with s = gain / sqrt(fan_in)."""
    scale = _checked_gain("kaiming_normal", gain)
    return lambda shape, rng, dtype: _normal(scale / sqrt(shape[1]), shape, rng, dtype)


def kaiming_uniform(gain: float = sqrt(2)) -> Initializer:
    """Return an initialiser that draws from U(-b, b) with b = gain * sqrt(3 / fan_in)."""
    scale = _checked_gain("kaiming_uniform", gain)
    return lambda shape, rng, dtype: _uniform(scale * sqrt(3 / shape[1]), shape, rng, dtype)


def _checked_gain(name: str, gain: float) -> float:
    if not is_number(gain):
        raise TypeError(
            f"nn.init.{name} takes gain as a number and returns an initialiser, got {type(gain).__name__}; "
            f'pass init="{name}" to Linear, or fill a parameter with nn.init.{name}_(parameter)'
        )
    return require_finite(gain, f"nn.init.{name}", "gain", least=0)


def _normal(std: float, shape: tuple[int, ...], rng: np.random.Generator, dtype: np.dtype[Any]) -> Array:
    return rng.normal(0.0, std, shape).astype(dtype)


def _uniform(bound: float, shape: tuple[int, ...], rng: np.random.Generator, dtype: np.dtype[Any]) -> Array:
    return rng.uniform(-bound, bound, shape).astype(dtype)


_NAMED: dict[str, Initializer] = {
    "default": default_weight,
    "zeros": zeros,
    "xavier_normal": xavier_normal(),
    "xavier_uniform": xavier_uniform(),
    "kaiming_normal": kaiming_normal(),
    "kaiming_uniform": kaiming_uniform(),
}

_FACTORIES: tuple[object, ...] = (xavier_normal, xavier_uniform, kaiming_normal, kaiming_uniform)


def initial_values(
    init: Init, out_features: int, in_features: int, rng: np.random.Generator, dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    """Return the first weight (out_features, in_features) and bias (out_features,) of a ``Linear``.

    ``init`` is a name, an initialiser, or None for "default". The default draws the bias like a row of the weight;
    every other initialiser leaves it zero.
    """
    if init is None:
        init = "default"
    if isinstance(init, str):
        if init not in _NAMED:
            raise ValueError(f"Linear takes init of {', '.join(map(repr, _NAMED))} or a callable, got {init!r}")
        init = _NAMED[init]
    if not callable(init):
        raise TypeError(f"Linear takes init as a name or a callable (shape, rng, dtype) -> array, got {init!r}")
    if init in _FACTORIES:
        name = init.__name__
        raise TypeError(f"Linear takes what nn.init.{name} returns, got the function; call it: init=nn.init.{name}()")
    shape = (out_features, in_features)
    weight = np.asarray(init(shape, rng, dtype))
    if weight.shape != shape or weight.dtype != dtype:
        raise ValueError(
            f"Linear takes an init that returns {dtype} of shape {shape}, got {weight.dtype} {weight.shape}"
        )
    if init is default_weight:
        return weight, _uniform(1 / sqrt(in_features), (out_features,), rng, dtype)
    return weight, np.zeros(out_features, dtype)


if not TYPE_CHECKING:  # what is missing is missing for a type checker too
    # PyTorch's old names without "_" for what fills in place, and what is for convolutions.
    __getattr__ = missing(
        __name__, __all__, ("constant", "dirac", "dirac_", "eye", "normal", "orthogonal", "sparse", "uniform")
    )

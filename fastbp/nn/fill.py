"""Initialisers that fill in place, with the names, the arguments and the distributions of ``torch.nn.init``.

Each takes a ``Parameter``, or a writeable float32 or float64 array such as ``parameter.data``, fills it and returns it:
``nn.init.xavier_uniform_(layer.weight)``. A parameter's values stay in its model's vector. What cannot be filled raises
TypeError, a shape or a number out of range ValueError, and nothing is written then.

The random numbers come from ``generator``, as PyTorch calls it, or ``rng``, as fastbp does: a
``numpy.random.Generator``, a seed, or None for fresh entropy. They are others than PyTorch's.

Of shape (out_features, in_features), in_features is ``fan_in`` and out_features is ``fan_out``. Further axes, as those
of a convolution's weight, multiply both.
"""

from __future__ import annotations

from math import ceil, erfc, inf, isfinite, prod, sqrt
from statistics import NormalDist
from typing import TypeVar

import numpy as np

from fastbp.nn.gains import calculate_gain
from fastbp.nn.parameter import Parameter
from fastbp.validation.arrays import Array, RandomSource, require_floats, require_generator
from fastbp.validation.scalars import require_finite, require_number

T = TypeVar("T", bound="Parameter | Array")


def uniform_(
    tensor: T, a: float = 0.0, b: float = 1.0, generator: RandomSource = None, *, rng: RandomSource = None
) -> T:
    """Draw from U(a, b), without b itself."""
    target, source = _Target("uniform_", tensor), _source("uniform_", generator, rng)
    low, high = target.number("a", a), target.number("b", b)
    if not (low <= high and isfinite(high - low)):
        raise ValueError(f"nn.init.uniform_ takes a <= b and a finite b - a, got a={a!r} and b={b!r}")
    values = source.uniform(low, high, target.view.shape).astype(target.view.dtype)
    if low < high:  # rounding to float32 may have reached b
        np.minimum(values, np.nextafter(values.dtype.type(high), values.dtype.type(low)), out=values)
    target.view[...] = values
    return tensor


def normal_(
    tensor: T, mean: float = 0.0, std: float = 1.0, generator: RandomSource = None, *, rng: RandomSource = None
) -> T:
    """Draw from the normal distribution of this mean and standard deviation."""
    target, source = _Target("normal_", tensor), _source("normal_", generator, rng)
    centre, deviation = target.number("mean", mean), target.number("std", std, least=0)
    target.view[...] = source.normal(centre, deviation, target.view.shape)
    return tensor


def trunc_normal_(
    tensor: T,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: RandomSource = None,
    *,
    rng: RandomSource = None,
) -> T:
    """Draw from the normal distribution within [a, b], which may be infinite.

    Where PyTorch warns that its draws may not follow the distribution, these do.
    """
    target, source = _Target("trunc_normal_", tensor), _source("trunc_normal_", generator, rng)
    centre, deviation = target.number("mean", mean), target.number("std", std)
    low, high = require_number(a, target.owner, "a"), require_number(b, target.owner, "b")
    if deviation <= 0:
        raise ValueError(f"{target.owner} takes a std above 0, got {std!r}")
    if not low <= high:
        raise ValueError(f"{target.owner} takes a <= b, got a={a!r} and b={b!r}")
    start, stop = (low - centre) / deviation, (high - centre) / deviation
    side = -1 if start > 0 else 1  # mirror the upper tail: the distribution function has its digits in the lower one
    first, last = sorted(0.5 * erfc(-side * end / sqrt(2)) for end in (start, stop))
    if last == 0:
        raise ValueError(f"{target.owner} draws within 38 standard deviations of the mean, got [{a!r}, {b!r}]")
    quantiles = source.uniform(first, last, target.view.shape)
    np.clip(quantiles, np.nextafter(0, 1), np.nextafter(1, 0), out=quantiles)  # 0 and 1 are infinitely far out
    standard = np.reshape([NormalDist().inv_cdf(quantile) for quantile in quantiles.flat], quantiles.shape)
    target.view[...] = np.clip(centre + side * deviation * standard, low, high)
    return tensor


def constant_(tensor: T, val: float) -> T:
    """Fill with ``val``; NaN and infinity are taken."""
    target = _Target("constant_", tensor)
    value = require_number(val, target.owner, "val")
    if isfinite(value) or isinstance(val, int):  # an int beyond all floats is not infinite
        target.number("val", val)
    target.view[...] = value
    return tensor


def ones_(tensor: T) -> T:
    """Fill with 1."""
    _Target("ones_", tensor).view[...] = 1
    return tensor


def zeros_(tensor: T) -> T:
    """Fill with 0."""
    _Target("zeros_", tensor).view[...] = 0
    return tensor


def eye_(tensor: T) -> T:
    """Fill a matrix with the identity, as far as it goes: 1 where row and column are equal."""
    view = _Target("eye_", tensor).matrix
    view[...] = np.eye(*view.shape)
    return tensor


def xavier_uniform_(tensor: T, gain: float = 1.0, generator: RandomSource = None, *, rng: RandomSource = None) -> T:
    """Draw from U(-b, b) with b = gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    target, source = _Target("xavier_uniform_", tensor), _source("xavier_uniform_", generator, rng)
    bound = target.number("gain", gain, least=0) * sqrt(6 / sum(target.fans))
    target.view[...] = source.uniform(-bound, bound, target.view.shape)
    return tensor


def xavier_normal_(tensor: T, gain: float = 1.0, generator: RandomSource = None, *, rng: RandomSource = None) -> T:
    """Draw from N(0, s) with s = gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    target, source = _Target("xavier_normal_", tensor), _source("xavier_normal_", generator, rng)
    std = target.number("gain", gain, least=0) * sqrt(2 / sum(target.fans))
    target.view[...] = source.normal(0.0, std, target.view.shape)
    return tensor


def kaiming_uniform_(
    tensor: T,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: RandomSource = None,
    *,
    rng: RandomSource = None,
) -> T:
    """Draw from U(-b, b) with b = gain * sqrt(3 / fan) (He et al., 2015).

    ``gain`` is ``calculate_gain(nonlinearity, a)``, and ``mode`` says which fan: "fan_in" or "fan_out".
    """
    target, source = _Target("kaiming_uniform_", tensor), _source("kaiming_uniform_", generator, rng)
    bound = calculate_gain(nonlinearity, a) * sqrt(3 / target.fan(mode))
    target.view[...] = source.uniform(-bound, bound, target.view.shape)
    return tensor


def kaiming_normal_(
    tensor: T,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: RandomSource = None,
    *,
    rng: RandomSource = None,
) -> T:
    """Draw from N(0, s) with s = gain / sqrt(fan), the gain and the fan of ``kaiming_uniform_`` (He et al., 2015)."""
    target, source = _Target("kaiming_normal_", tensor), _source("kaiming_normal_", generator, rng)
    std = calculate_gain(nonlinearity, a) / sqrt(target.fan(mode))
    target.view[...] = source.normal(0.0, std, target.view.shape)
    return tensor


def orthogonal_(tensor: T, gain: float = 1, generator: RandomSource = None, *, rng: RandomSource = None) -> T:
    """Fill with orthonormal rows, or columns where these are fewer, times ``gain`` (Saxe et al., 2013).

    Axes behind the first count as one. The matrix is drawn uniformly: the factor Q of a matrix of normal numbers, with
    the signs that make R's diagonal positive (Mezzadri, 2007).
    """
    target, source = _Target("orthogonal_", tensor), _source("orthogonal_", generator, rng)
    scale, view = target.number("gain", gain), target.view
    target.require_fans()
    shape = (view.shape[0], prod(view.shape[1:]))
    q, r = np.linalg.qr(source.standard_normal((max(shape), min(shape))))
    q = q * np.where(np.diagonal(r) < 0, -scale, scale)
    view[...] = (q if shape[0] >= shape[1] else q.T).reshape(view.shape)
    return tensor


def sparse_(
    tensor: T, sparsity: float, std: float = 0.01, generator: RandomSource = None, *, rng: RandomSource = None
) -> T:
    """Fill a matrix with draws from N(0, std), but a share ``sparsity`` of each column with 0 (Martens, 2010).

    The number of zeros is rounded up; which rows they are in is drawn for each column.
    """
    target, source = _Target("sparse_", tensor), _source("sparse_", generator, rng)
    view, deviation = target.matrix, target.number("std", std, least=0)
    share = require_number(sparsity, target.owner, "sparsity")
    if not 0 <= share <= 1:
        raise ValueError(f"{target.owner} takes sparsity from 0 to 1, got {sparsity!r}")
    values = source.normal(0.0, deviation, view.shape)
    ranks = source.random(view.shape).argsort(axis=0)  # a permutation of the rows in each column
    values[ranks < ceil(share * view.shape[0])] = 0
    view[...] = values
    return tensor


class _Target:
    """What one of these functions fills, with the checks that need to know it."""

    __slots__ = ("owner", "view")

    def __init__(self, name: str, tensor: Parameter | Array) -> None:
        self.owner = f"nn.init.{name}"
        if not isinstance(tensor, Parameter | np.ndarray):
            raise TypeError(
                f"{self.owner} fills a Parameter or a NumPy array, such as parameter.data, got {type(tensor).__name__}"
            )
        self.view = require_floats(tensor.data if isinstance(tensor, Parameter) else tensor, self.owner)
        if not self.view.flags.writeable:
            raise ValueError(f"{self.owner} writes into its array, got one that is read-only")

    def number(self, name: str, value: float, least: float = -inf) -> float:
        """Return ``value`` as a float, finite, of ``least`` or more, and within the range of the array's dtype."""
        number = require_finite(value, self.owner, name, least)
        if abs(number) > float(np.finfo(self.view.dtype).max):
            raise ValueError(f"{self.owner} takes {name} within the range of {self.view.dtype}, got {value!r}")
        return number

    @property
    def matrix(self) -> Array:
        if self.view.ndim != 2:
            raise ValueError(f"{self.owner} takes arrays of 2 dimensions, got shape {self.view.shape}")
        return self.view

    def require_fans(self) -> None:
        if self.view.ndim < 2:
            raise ValueError(f"{self.owner} takes arrays of 2 dimensions or more, got shape {self.view.shape}")

    @property
    def fans(self) -> tuple[int, int]:
        """fan_in and fan_out; 1 or more, so that an array without elements divides nothing by zero."""
        self.require_fans()
        rows, columns, *kernel = self.view.shape
        return max(1, columns * prod(kernel)), max(1, rows * prod(kernel))

    def fan(self, mode: str) -> int:
        modes = dict(zip(("fan_in", "fan_out"), self.fans))
        if not isinstance(mode, str) or mode.lower() not in modes:  # in capitals too, as in PyTorch
            raise ValueError(f"{self.owner} takes mode 'fan_in' or 'fan_out', got {mode!r}")
        return modes[mode.lower()]


def _source(name: str, generator: RandomSource, rng: RandomSource) -> np.random.Generator:
    if generator is not None and rng is not None:
        raise TypeError(f"nn.init.{name} takes generator or rng, two names of one argument, got both")
    return require_generator(rng if generator is None else generator, f"nn.init.{name}")

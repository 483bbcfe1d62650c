"""One line for each differentiable function, in NumPy and in PyTorch, with the shapes that it is tried on.

``CASES`` is complete with ``autograd_array_cases``: a row of the table without a case fails a test.
"""

import operator
from dataclasses import dataclass
from typing import Any

import numpy
import torch


@dataclass
class Case:
    """A function in both libraries.

    Attributes
    ----------
    key
        The row of the table that it is for.
    mine, theirs : callable
        Of as many arrays as ``shapes`` has: numpy's and torch's.
    shapes : tuple of shapes
    low, high : float
        Between which the numbers are drawn.
    name : str
    """

    key: Any
    mine: Any
    theirs: Any
    shapes: tuple
    low: float = -2.0
    high: float = 2.0
    name: str = ""

    def draw(self, dtype, seed=0):
        rng = numpy.random.default_rng(seed)
        return [numpy.asarray(rng.uniform(self.low, self.high, shape), dtype) for shape in self.shapes]


CASES = []
ONE = [((3, 4),), ((),), ((2, 3, 4),), ((0, 3),)]
TWO = [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (2, 3)), ((2, 1, 3), (4, 1)), ((), ()), ((0, 3), (3,))]


def case(key, mine, theirs, *shape_lists, low=-2.0, high=2.0):
    name = getattr(key, "__name__", str(key))
    for shapes in shape_lists:
        CASES.append(Case(key, mine, theirs, shapes, low, high, f"{name} {len(CASES)}"))


def elementwise(key, theirs, shape_lists, low=-2.0, high=2.0):
    case(key, key, theirs, *shape_lists, low=low, high=high)


def of_torch(name):
    return getattr(torch, name)


# Arithmetic and elementary functions

for name in [
    "exp",
    "exp2",
    "expm1",
    "sin",
    "cos",
    "tan",
    "sinh",
    "cosh",
    "tanh",
    "arctan",
    "arcsinh",
    "square",
    "reciprocal",
    "absolute",
    "negative",
    "positive",
    "sign",
]:
    elementwise(getattr(numpy, name), of_torch(name), ONE)
for name in ["log", "log2", "log10", "log1p", "sqrt"]:
    elementwise(getattr(numpy, name), of_torch(name), ONE, 0.1, 3)
for name in ["arcsin", "arccos", "arctanh"]:
    elementwise(getattr(numpy, name), of_torch(name), ONE, -0.9, 0.9)
elementwise(numpy.arccosh, torch.arccosh, ONE, 1.1, 3)
elementwise(numpy.cbrt, lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3), ONE, 0.1, 3)
elementwise(numpy.fabs, torch.abs, ONE)
elementwise(numpy.conjugate, lambda x: x * 1, ONE)
for key in dict.fromkeys((numpy.deg2rad, numpy.radians)):  # one function in some versions of NumPy
    elementwise(key, torch.deg2rad, ONE)
for key in dict.fromkeys((numpy.rad2deg, numpy.degrees)):
    elementwise(key, torch.rad2deg, ONE)
for name in [
    "add",
    "subtract",
    "multiply",
    "divide",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "arctan2",
    "hypot",
    "logaddexp",
    "logaddexp2",
    "copysign",
]:
    elementwise(getattr(numpy, name), of_torch(name), TWO)
for name in ["remainder", "fmod"]:
    elementwise(getattr(numpy, name), of_torch(name), TWO, 0.3, 2)
elementwise(numpy.power, torch.pow, TWO, 0.2, 2)
elementwise(numpy.float_power, torch.pow, TWO, 0.2, 2)
for exponent in (0, 1, 2, 3, -1, 0.5, 2.5):
    case(numpy.power, lambda x, e=exponent: x**e, lambda x, e=exponent: x**e, ((3, 4),), ((),), low=0.2)
case(numpy.power, lambda x: 2**x, lambda x: 2**x, ((3, 4),), ((),))
for name in ("add", "sub", "mul", "truediv", "mod", "pow"):
    function = getattr(operator, name)
    key = {"sub": numpy.subtract, "mul": numpy.multiply, "truediv": numpy.divide, "mod": numpy.remainder}.get(name)
    key = key or getattr(numpy, {"pow": "power"}.get(name, name))
    case(key, function, function, *TWO, low=0.3)
    case(key, lambda x, f=function: f(x, 1.5), lambda x, f=function: f(x, 1.5), *ONE, low=0.3)
    case(key, lambda x, f=function: f(1.5, x), lambda x, f=function: f(torch.full_like(x, 1.5), x), *ONE, low=0.3)
case(numpy.clip, lambda x: numpy.clip(x, -1, 0.5), lambda x: torch.clamp(x, -1, 0.5), *ONE)
case(numpy.clip, lambda x: numpy.clip(x, None, 0.5), lambda x: torch.clamp(x, None, 0.5), *ONE)
case(numpy.clip, lambda x: x.clip(-0.5), lambda x: torch.clamp(x, -0.5), *ONE)
case(numpy.clip, numpy.clip, torch.clamp, ((3, 4), (3, 4), (3, 4)))
case(numpy.clip, numpy.clip, torch.clamp, ((5, 4), (4,), (5, 1)))
case(numpy.where, lambda x, y: numpy.where(x > y, x, y * 2), lambda x, y: torch.where(x > y, x, y * 2), *TWO)
case(numpy.where, lambda x: numpy.where(x > 0, x, 0.0), lambda x: torch.where(x > 0, x, 0.0), *ONE)
case(
    numpy.select,
    lambda x, y: numpy.select([x > 1, x > 0], [x * y, y], 3.0),
    lambda x, y: torch.where(x > 1, x * y, torch.where(x > 0, y, 3.0)),
    ((3, 4), (3, 4)),
)
case(numpy.nan_to_num, numpy.nan_to_num, torch.nan_to_num, *ONE)

# Reductions: of everything, along one axis, along two, with and without keepdims


def reduction(key, theirs, low=-2.0, high=2.0, theirs_of_all=None):
    case(key, key, theirs_of_all or theirs, ((3, 4),), ((),), ((2, 3, 4),), low=low, high=high)
    for axis, keepdims in ((0, False), (1, True), (-1, False), ((0, 2), False), ((-1, 0), True)):
        case(
            key,
            lambda x, a=axis, k=keepdims: key(x, axis=a, keepdims=k),
            lambda x, a=axis, k=keepdims: theirs(x, dim=a, keepdim=k),
            ((2, 3, 4),),
            low=low,
            high=high,
        )


def product(x, dim=None, keepdim=False):
    """torch's product along several axes."""
    if dim is None:
        return torch.prod(x)
    for axis in sorted(dim, key=lambda axis: axis % x.ndim, reverse=True) if isinstance(dim, tuple) else [dim]:
        x = torch.prod(x, dim=axis, keepdim=keepdim)
    return x


def extent(x, dim=None, keepdim=False):
    return torch.amax(x, dim=dim or (), keepdim=keepdim) - torch.amin(x, dim=dim or (), keepdim=keepdim)


def extent_along(x, dim, keepdim=False):
    return torch.amax(x, dim=dim, keepdim=keepdim) - torch.amin(x, dim=dim, keepdim=keepdim)


reduction(numpy.sum, torch.sum)
case(numpy.sum, numpy.sum, torch.sum, ((0, 3),))
case(numpy.sum, lambda x: x.sum(0), lambda x: x.sum(0), ((0, 3),))
case(numpy.sum, lambda x: numpy.add.reduce(x), lambda x: x.sum(0), ((2, 3),))
case(numpy.sum, lambda x: x.sum(where=numpy.arange(4) > 1, initial=2), lambda x: x[:, 2:].sum() + 2, ((3, 4),))
reduction(numpy.mean, torch.mean)
reduction(numpy.prod, product)
case(numpy.prod, lambda x: numpy.prod(x * [[1], [0], [1]], 0), lambda x: x[0] * 0 * x[1] * x[2], ((3, 4),))
for key, theirs in ((numpy.var, torch.var), (numpy.std, torch.std)):

    def of_all(x, correction=0, theirs=theirs):
        return theirs(x, correction=correction)

    def along(x, dim, keepdim, theirs=theirs):
        return theirs(x, dim=dim, keepdim=keepdim, correction=0)

    reduction(key, along, theirs_of_all=of_all)
    case(key, lambda x, f=key: f(x, axis=1, ddof=1), lambda x, f=theirs: f(x, dim=1, correction=1), ((2, 3, 4),))
for key, theirs in (
    (numpy.max, torch.amax),
    (numpy.min, torch.amin),
    (numpy.nanmax, torch.amax),
    (numpy.nanmin, torch.amin),
):
    reduction(key, theirs)
    case(
        key,
        lambda x, f=key: f(numpy.round(numpy.asarray(x)) + 0 * x),
        lambda x, f=theirs: f(x.round().detach() + 0 * x),
        ((3, 4),),
    )
reduction(numpy.ptp, extent_along, theirs_of_all=extent)
reduction(numpy.nansum, torch.nansum)
reduction(numpy.nanmean, torch.nanmean)
reduction(numpy.nanprod, product)
reduction(numpy.average, torch.mean)
case(
    numpy.average,
    lambda x, w: numpy.average(x, 0, weights=w),
    lambda x, w: (x * w[:, None]).sum(0) / w.sum(),
    ((3, 4), (3,)),
    low=0.2,
)
case(
    numpy.average,
    lambda x, w: numpy.average(x, weights=w),
    lambda x, w: (x * w).sum() / w.sum(),
    ((3, 4), (3, 4)),
    low=0.2,
)
for key, theirs in ((numpy.cumsum, torch.cumsum), (numpy.cumprod, torch.cumprod)):
    for axis in (0, 1, -1):
        case(key, lambda x, f=key, a=axis: f(x, axis=a), lambda x, f=theirs, a=axis: f(x, a), ((3, 4),), ((2, 3, 4),))
    case(key, key, lambda x, f=theirs: f(x.ravel(), 0), ((3, 4),), ((5,),))
    case(
        key,
        lambda x, f=key: f(x * [1, 0, 1, 0, 1]),
        lambda x, f=theirs: f(x * torch.tensor([1, 0, 1, 0, 1]), 0),
        ((5,),),
    )

"""What makes a parameter work where NumPy and Python take an array."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from numbers import Number
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from fastbp.autograd.dispatch import call_function, call_ufunc
from fastbp.autograd.functions import TABLE
from fastbp.autograd.tensor import Tensor, wrap
from fastbp.validation.arrays import Array

Self = TypeVar("Self", bound="ArrayLike")


class ArrayLike(NDArrayOperatorsMixin):
    """Reads as its ``data`` in arithmetic, NumPy's functions, methods and by index, all of which are recorded.

    Comparisons give plain arrays. ``numpy.asarray(parameter)`` and ``parameter.numpy()`` are views, so that writing to
    them writes to the model, as ``parameter[index] = values`` does. An operation in place raises TypeError, where
    PyTorch raises too: ``layer.weight *= 2`` would put an array in the parameter's place.
    """

    __slots__ = ()

    note_change: Callable[[], None]

    @property
    def data(self) -> Array:
        raise NotImplementedError

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Return the data as NumPy 2 asks for it: as a view, unless ``dtype`` or ``copy`` needs a copy."""
        data = self.data
        if dtype is not None and data.dtype != dtype:
            if copy is False:
                raise ValueError(f"a Parameter of dtype {data.dtype} has no {np.dtype(dtype)} array without a copy")
            return data.astype(dtype)
        return data.copy() if copy else data

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, /, *inputs: Any, **options: Any) -> Any:
        written = inputs[:1] if method == "at" else options.get("out", ())
        if any(isinstance(array, ArrayLike) for array in written):
            raise TypeError(
                f"numpy.{ufunc.__name__} does not write into a Parameter; "
                "write into its array: parameter.data *= 2, or out=parameter.data"
            )
        return call_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return call_function(function, args, options)

    # Two parameters are equal if they are one: modules, optimisers and users look them up in lists and dictionaries.
    # With numbers and arrays a comparison is elementwise, so that (parameter == 0).sum() counts.
    __hash__ = object.__hash__

    def __eq__(self, other: Any) -> Any:
        if isinstance(other, ArrayLike):
            return self is other
        if isinstance(other, Number | list | tuple) or hasattr(other, "__array__"):
            return np.equal(self.data, other)
        return NotImplemented

    def __ne__(self, other: Any) -> Any:
        equal = self == other
        return not equal if isinstance(equal, bool) else np.logical_not(equal)

    def __bool__(self) -> bool:
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return value in self.data

    def __getitem__(self, index: Any) -> Any:
        return TABLE[operator.getitem].call((self, index), {})

    def __setitem__(self, index: Any, values: Any) -> None:
        self.data[index] = values
        self.note_change()

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def T(self) -> Any:
        return np.transpose(self)

    def dim(self) -> int:
        """Return ``ndim``."""
        return self.ndim

    def numel(self) -> int:
        """Return the number of elements."""
        return self.data.size

    def item(self) -> float:
        """Return the only element as a number; raise ValueError if there are more."""
        return float(self.data.item())

    def tolist(self) -> Any:
        """Return the elements as lists of numbers."""
        return self.data.tolist()

    def numpy(self) -> Array:
        """Return the data, a view: no ``detach`` is needed."""
        return self.data

    def clone(self) -> Any:
        """Return a copy of the data, recorded: gradients go through it."""
        return np.copy(self)

    def detach(self) -> Tensor:
        """Return the data as a tensor without gradient, a view: writing to it writes to the model."""
        return wrap(self.data, None)

    def cpu(self: Self) -> Self:
        """Return the parameter itself: it is on no other device."""
        return self


def _method(name: str) -> Callable[..., Any]:
    function = getattr(np, name)

    def method(self: ArrayLike, *args: Any, **options: Any) -> Any:
        return call_function(function, (self, *args), options)

    method.__name__, method.__doc__ = name, f"Return ``numpy.{name}`` of the parameter, recorded."
    return method


for _name in ("abs", "clip", "dot", "max", "mean", "min", "prod", "ravel", "squeeze", "std", "sum", "var"):
    setattr(ArrayLike, _name, _method(_name))


def _several(name: str) -> Callable[..., Any]:
    function = getattr(np, name)

    def method(self: ArrayLike, *sizes: Any, **options: Any) -> Any:
        given = sizes if len(sizes) != 1 else sizes[0]
        return call_function(function, (self, None if sizes == () else given), options)

    method.__name__, method.__doc__ = name, f"Return ``numpy.{name}`` of the parameter, recorded."
    return method


for _name in ("reshape", "transpose"):
    setattr(ArrayLike, _name, _several(_name))

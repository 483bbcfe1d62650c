"""Public kernels: each says which arrays it takes, and refuses all others before it is compiled.

A kernel reaches its arrays through pointers: one in another order or of another dtype would be read as garbage, or
written beside its memory. Layout, dtype, number of dimensions and whether an array may be written are part of the types
that numba compiles for. So they are checked when a kernel meets types for the first time, in a call from Python or from
compiled code; later calls pay nothing. Lengths are no part of the types: that they fit is up to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, get_type_hints

from numba import types

from fastbp_kernels.compiler.decorators import kernel
from fastbp_kernels.compiler.numba_internals import TypingError, normalize_signature

P = ParamSpec("P")
R = TypeVar("R")

_FLOATS = (types.float32, types.float64)

# What a parameter takes that is annotated as a number.
_NUMBERS: dict[type, tuple[str, Any]] = {
    int: ("an int", types.Integer),
    float: ("a number", (types.Integer, types.Float)),
}

# Types that users know by other names than numba's.
_NAMES = (
    (types.NoneType, "None"),
    (types.BaseTuple, "a tuple"),
    ((types.List, types.ListType), "a list"),
    (types.PyObject, "an object that numba has no type for"),
)


class ArgumentTypeError(TypingError, TypeError):
    """Arguments that a kernel does not take: a TypeError, and an error that numba shows where it compiles a call."""

    def __init__(self, message: str) -> None:
        super().__init__(message, highlighting=False)


@dataclass(frozen=True)
class ArrayArgument:
    """An array that a kernel takes; ``read`` and ``written`` make it."""

    shape: str
    is_written: bool = False
    may_be_empty: bool = False
    holds_indices: bool = False


def read(shape: str = "", *, or_empty: bool = False) -> ArrayArgument:
    """Return what ``public_kernel`` takes for an array that is only read.

    Parameters
    ----------
    shape : str
        A letter for each length, such as "(n, i)"; "" where arrays of any shape are taken, if all are of the same.
    or_empty : bool
        Whether a vector of no elements stands for none.
    """
    return ArrayArgument(shape, may_be_empty=or_empty)


def written(shape: str = "", *, or_empty: bool = False) -> ArrayArgument:
    """Return what ``public_kernel`` takes for an array that is written, maybe also read; else as ``read``."""
    return ArrayArgument(shape, is_written=True, may_be_empty=or_empty)


def indices(shape: str) -> ArrayArgument:
    """Return what ``public_kernel`` takes for an array of int64 that is only read; else as ``read``."""
    return ArrayArgument(shape, holds_indices=True)


def public_kernel(**arrays: ArrayArgument) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator like ``kernel`` for functions of these arrays, and of numbers annotated as int or float.

    The arrays are C-contiguous and, but for those of indices, of one dtype, float32 or float64. A call with others
    raises ArgumentTypeError.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        compiled = kernel(function)
        dispatcher: Any = compiled
        annotations = get_type_hints(function)
        del annotations["return"]
        numbers = {name: _NUMBERS[annotation] for name, annotation in annotations.items() if name not in arrays}
        compile = dispatcher.compile

        def check_and_compile(signature: Any) -> Any:
            given = dict(zip(annotations, map(types.unliteral, normalize_signature(signature)[0])))
            fault = next(_faults(arrays, numbers, given), None)
            if fault is not None:
                raise ArgumentTypeError(f"{function.__name__} {fault}")
            return compile(signature)

        # What numba calls, from Python for types that it has no code for, and where it compiles a call.
        dispatcher.compile = check_and_compile
        return compiled

    return decorate


def _faults(
    arrays: Mapping[str, ArrayArgument], numbers: Mapping[str, tuple[str, Any]], given: Mapping[str, types.Type]
) -> Iterator[str]:
    """Go through what is wrong with arguments of the types ``given``; each rule presumes those before it."""
    for name, (what, kinds) in numbers.items():
        if not isinstance(given[name], kinds):
            yield f"takes {name} as {what}, got {_described(given[name])}"
    for name, array in arrays.items():
        yield from _array_faults(name, array, given[name])
    first, *others = (name for name, array in arrays.items() if not array.holds_indices)
    for other in others:
        if given[other].dtype != given[first].dtype:
            yield (
                f"takes arrays of one dtype, got {first} of {given[first].dtype} and {other} of {given[other].dtype}; "
                "convert one of them with .astype"
            )
        if not arrays[other].shape and given[other].ndim != given[first].ndim:
            yield (
                f"takes arrays of one shape, got {first} of {_dimensions(given[first])} and {other} of "
                f"{_dimensions(given[other])}; reshape one of them"
            )


def _array_faults(name: str, array: ArrayArgument, given: types.Type) -> Iterator[str]:
    shape = array.shape and f" of shape {array.shape}{' or (0,)' if array.may_be_empty else ''}"
    if not isinstance(given, types.Array):
        none = ", for none numpy.empty(0, dtype)" if array.may_be_empty else ""
        yield (
            f"takes {name} as an array{shape}, got {_described(given)}; "
            f"hand over a NumPy array of {'int64' if array.holds_indices else 'float32 or float64'}{none}"
        )
    if given.layout != "C":
        came = "a Fortran-ordered one" if given.layout == "F" else "a strided one"
        copy = f"numpy.ascontiguousarray({name})"
        remedy = f"hand over copy = {copy}, then {name}[...] = copy" if array.is_written else f"copy it: {copy}"
        yield f"takes {name} as a C-contiguous array{shape}, got {came}; {remedy}"
    if array.shape and given.ndim != sum(map(str.isalpha, array.shape)):
        yield f"takes {name} as an array{shape}, got one of {_dimensions(given)}; reshape it"
    if array.holds_indices:
        if given.dtype != types.int64:
            yield f"takes {name} as an array of int64, got {given.dtype}; convert it: {name}.astype(numpy.int64)"
    elif given.dtype not in _FLOATS:
        remedy = "hand over one of float32" if array.is_written else f"convert it: {name}.astype(numpy.float32)"
        yield f"takes {name} as an array of float32 or float64, got {given.dtype}; {remedy}"
    if array.is_written and not given.mutable:
        yield f"writes to {name}, got a read-only array; hand over a writeable one"


def _described(given: types.Type) -> str:
    return next((name for kind, name in _NAMES if isinstance(given, kind)), str(given))


def _dimensions(array: types.Array) -> str:
    return f"{array.ndim} dimension{'' if array.ndim == 1 else 's'}"

"""Rows of functions that only move elements: copies, picks, mirrors, and zeros in between.

Where an element of the result comes from is found by the function itself: it moves the numbers 1, 2, ... of the
elements in the same way. 0 stands where no element came to. That is done in the backward, and only if there is one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.autograd.functions import TABLE, Function, function_name


def _moved_back(grad: Any, shape: tuple[int, ...], function: Any, args: Any, options: Any) -> Any:
    size = int(np.prod(shape))
    sources = function(np.arange(1, size + 1).reshape(shape), *args, **options)
    sums = np.bincount(np.ravel(sources), weights=np.ravel(grad), minlength=size + 1)
    return sums[1:].reshape(shape)


def _row_of(function: Any, argument: str) -> Function:
    """Return the row of a function whose first argument has this name."""

    def compute(array: Any, *args: Any, **options: Any) -> Any:
        return function(array, *args, **options), (np.shape(array), function, args, options)

    row = Function(function_name(function), compute, (_moved_back,))
    row.arguments = (argument,)
    return row


MOVES = {
    np.tile: "A", np.repeat: "a", np.take: "a", np.take_along_axis: "arr", np.diagonal: "a", np.diag: "v",
    np.diagflat: "v", np.tril: "m", np.triu: "m", np.delete: "arr",
    np.resize: "a", np.rot90: "m", np.fliplr: "m", np.flipud: "m",
}  # fmt: skip


def _pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    value = np.pad(array, pad_width, mode, **options)
    if mode == "constant":
        return value, (np.shape(array), np.pad, (pad_width,), {})
    moves = mode in ("edge", "wrap", "reflect", "symmetric") and options.get("reflect_type", "even") == "even"
    return value, (np.shape(array), np.pad, (pad_width, mode), {}) if moves else None


TABLE[np.pad] = Function("numpy.pad", _pad, (_moved_back,))
for _function, _argument in MOVES.items():
    TABLE[_function] = _row_of(_function, _argument)

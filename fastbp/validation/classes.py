"""Class indices as targets."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.validation.arrays import Array
from fastbp.validation.foreign import require_array

_INTEGERS = ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64")


def require_integers(target: Any, owner: str, name: str) -> Array:
    """Return ``target`` itself if it is a NumPy array of an integer dtype, or raise TypeError."""
    found = require_array(target, f"{owner}({name}=...)", _INTEGERS)
    if found.dtype.kind not in "iu":
        raise TypeError(
            f"{owner} takes {name} as class indices of an integer dtype, got {found.dtype}; pass .argmax(axis=1) of "
            "one-hot rows, or .astype(int)"
        )
    return found


def stray_class(indices: Array, classes: int, ignored: int | None = None) -> Any:
    """Return the first index that is no class and not the one that is ``ignored``, or None."""
    if not indices.size or (indices.min() >= 0 and indices.max() < classes):
        return None
    stray = indices[((indices < 0) | (indices >= classes)) & (indices != ignored)]
    return stray[0] if stray.size else None


def require_classes(target: Any, outputs: tuple[int, ...], owner: str, name: str, ignored: int | None = None) -> Array:
    """Return ``target`` itself if it names a class for each row of outputs.

    Parameters
    ----------
    target : ndarray of integers, shape (n,)
    outputs : tuple of int
        The shape (n, classes) of the outputs that they are for.
    owner, name : str
        Who takes them, and by what name.
    ignored : int or None
        Another index that is taken.

    Raises
    ------
    TypeError, ValueError
        For another dtype or shape, and for an index that is no class.
    """
    found = require_integers(target, owner, name)
    if found.shape != outputs[:1]:
        raise ValueError(
            f"{owner} takes {name} of shape {outputs[:1]}, a class index for each row of outputs {outputs}, "
            f"got {found.shape}"
        )
    wrong = stray_class(found, outputs[1], ignored)
    if wrong is not None:
        raise ValueError(f"{owner} takes {name} from 0 to {outputs[1] - 1} for {outputs[1]} outputs, got {wrong}")
    return found


def class_indices(target: Array) -> Array:
    """Return an int64 array of its own, in which nobody can put an index beyond the outputs afterwards."""
    return np.array(target, np.int64)

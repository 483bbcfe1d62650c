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


def class_indices(target: Any, outputs: tuple[int, ...], owner: str, name: str) -> Array:
    """Return class indices as an int64 array of their own, which nobody can change afterwards.

    Parameters
    ----------
    target : ndarray of integers, shape (n,)
    outputs : tuple of int
        The shape (n, classes) of the outputs that they are for.
    owner, name : str
        Who takes them, and by what name.

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
    if found.size and not (found.min() >= 0 and found.max() < outputs[1]):
        wrong = found[(found < 0) | (found >= outputs[1])][0]
        raise ValueError(f"{owner} takes {name} from 0 to {outputs[1] - 1} for {outputs[1]} outputs, got {wrong}")
    return np.array(found, np.int64)

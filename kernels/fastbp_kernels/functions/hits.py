"""Hits: the rows of which a network's outputs name the target's class."""

from __future__ import annotations

from fastbp_kernels.compiler.decorators import inner_kernel
from fastbp_kernels.compiler.pointers import Pointer


@inner_kernel
def is_hit(prediction: Pointer, target: Pointer, outputs: int) -> bool:
    """Whether one row's outputs name its class: the largest that of a one-hot target, a single one that of 0 or 1.

    A single output names 1 above 0.5 and else 0, NaN neither.
    """
    if outputs == 1:
        return prediction[0] > 0.5 if target[0] == 1 else prediction[0] <= 0.5
    return target[_argmax(prediction, outputs)] == 1


@inner_kernel
def is_class_hit(prediction: Pointer, own: int, outputs: int) -> bool:
    """Whether the largest of one row's outputs is that of its class ``own``."""
    return _argmax(prediction, outputs) == own


@inner_kernel
def _argmax(values: Pointer, count: int) -> int:
    """Return the position of the largest of ``count`` values or of the first NaN, as ``numpy.argmax``."""
    best = 0
    for k in range(1, count):
        if values[best] != values[best]:
            break
        if values[k] > values[best] or values[k] != values[k]:
            best = k
    return best

"""The gradients of some parameters, wherever they lie, as the kernels of clipping take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import hypot
from typing import Any, NamedTuple

import numpy as np

from fastbp.nn.parameter import FlatView, Parameter, in_order_of_memory, with_gradient
from fastbp.validation.arrays import Array
from fastbp_kernels.compiler.decorators import entry_point
from fastbp_kernels.functions.gradient_clipping import NORM_SLAB, clip, gradient_norm

_code: dict[np.dtype[Any], tuple[Callable[..., float], Callable[..., None]]] = {}  # compiled, by the gradients' dtype


def gradients_of(parameters: Parameter | Iterable[Parameter], owner: str) -> Gradients:
    """Return the gradients of ``parameters``, the same as before if nothing has changed.

    Raises
    ------
    TypeError
        If there is something else among them.
    """
    listed = (parameters,) if isinstance(parameters, Parameter) else tuple(parameters)
    try:
        arrays = [parameter.kernel_grad for parameter in listed]
        reached = [parameter.has_grad for parameter in listed]
    except AttributeError:
        wrong = next(value for value in listed if not isinstance(value, Parameter))
        raise TypeError(f"{owner} takes parameters such as model.parameters(), got {type(wrong).__name__}") from None
    if not listed:
        return Gradients((), (), ())
    storage = listed[0].storage
    found: Gradients | None = storage.found
    if found is None or not found.are(arrays, reached):
        found = storage.found = Gradients(listed, arrays, reached)
    return found


class Gradients:
    """Where gradients lie. They are kept with the storage of the first, and keep no parameter.

    The norm takes a gradient that is None for the zeros that lie there, as the engine does: a sum of the same numbers
    in the same order.

    Parameters
    ----------
    parameters : sequence of Parameter
    arrays : sequence of ndarray
        The ``kernel_grad`` of each.
    reached : sequence of bool
        Whether each has a gradient.

    Attributes
    ----------
    vectors : list of ndarray
        The gradients that are not None as the fewest vectors, in the order in which they lie.
    lock : ModelLock or ModelLocks
        Of the storages.
    """

    def __init__(self, parameters: tuple[Parameter, ...], arrays: Sequence[Array], reached: Sequence[bool]) -> None:
        in_order = tuple(in_order_of_memory(parameters))  # so that a model's order makes no other sum
        flat = FlatView(in_order)
        self._arrays, self._reached, self.lock = arrays, reached, flat.lock
        self.vectors = [grad for _, grad in FlatView(with_gradient(in_order)).runs]
        self._norms, self._clips = _calls([grad for _, grad in flat.runs]), _calls(self.vectors)

    def are(self, arrays: Sequence[Array], reached: Sequence[bool]) -> bool:
        """Whether these are the gradients of such parameters."""
        return reached == self._reached and not [a for a, own in zip(arrays, self._arrays) if a is not own]

    def norm(self) -> float:
        """Return the norm of all, as if they were one vector."""
        norms = [call.norm(call.runs, call.sums, call.like) for call in self._norms]
        return norms[0] if len(norms) == 1 else hypot(*norms)

    def clip(self, norm: float, limit: float) -> None:
        """Multiply all by ``limit / (norm + 1e-6)`` unless that is 1 or more."""
        if not limit / (norm + 1e-6) >= 1.0:
            for call in self._clips:
                call.clip(call.runs, norm, limit, call.like)


class _Call(NamedTuple):
    """Vectors of one dtype, as the kernels take them, and the kernels compiled for it."""

    norm: Callable[..., float]
    clip: Callable[..., None]
    runs: Array
    sums: Array
    like: Array


def _calls(vectors: Sequence[Array]) -> list[_Call]:
    """Return a call for each dtype of ``vectors``."""
    calls = []
    for dtype in dict.fromkeys(vector.dtype for vector in vectors):
        own = [vector for vector in vectors if vector.dtype == dtype]
        runs = np.array([(vector.ctypes.data, vector.size) for vector in own], np.int64)
        sums = np.empty(max(-(-vector.size // NORM_SLAB) for vector in own))
        if dtype not in _code:
            _code[dtype] = entry_point(gradient_norm, runs, sums, own[0]), entry_point(clip, runs, 1.0, 1.0, own[0])
        calls.append(_Call(*_code[dtype], runs, sums, own[0]))
    return calls

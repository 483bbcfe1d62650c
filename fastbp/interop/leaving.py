"""A network as those read it who write it down for other programs: layer by layer, in the order of a prediction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastbp.interop.sample_shapes import Shape, returned_shape, taken_shape
from fastbp.nn.activations import Elementwise
from fastbp.nn.batch_norm import BatchNorm1d
from fastbp.nn.container import ModuleDict, ModuleList
from fastbp.nn.dropout import AlphaDropout, Dropout
from fastbp.nn.embedding import Embedding
from fastbp.nn.identity import Identity
from fastbp.nn.module import Module
from fastbp.nn.residual import Residual
from fastbp.nn.sequential import Sequential
from fastbp.validation.arrays import FLOAT_DTYPES
from fastbp.validation.user_methods import is_of_the_library, own_methods

PASSING: tuple[type[Module], ...] = (Dropout, AlphaDropout, Identity)
"""The layers that a prediction passes unchanged, and that no file has."""


class Writer(Protocol):
    """What writes a network down in some language."""

    def add_layer(self, layer: Any, name: str, shape: Shape, returned: Shape) -> None:
        """Write a layer under its dotted name, for a sample of ``shape``."""

    def begin_residual(self, shape: Shape) -> None:
        """Note what a residual block adds to the output of the layers that follow."""

    def end_residual(self) -> None:
        """Add it."""


class Leaving(NamedTuple):
    """What leaves.

    Attributes
    ----------
    model : Module
    facts : dict
        What a file says about an estimator: see ``fastbp.sklearn.leaving``. JSON can hold it.
    dtype : dtype
    sample_shape : tuple of int
    output_shape : tuple of int
    takes_indices : bool
        Whether inputs are integers, of an ``Embedding`` at the beginning.
    """

    model: Module
    facts: dict[str, Any]
    dtype: np.dtype[Any]
    sample_shape: Shape
    output_shape: Shape
    takes_indices: bool


def leaving(model: Any, caller: str, sample_shape: int | Sequence[int] | None) -> Leaving:
    """Return what leaves with a model or a fitted estimator, or raise TypeError or ValueError saying why it cannot.

    Parameters
    ----------
    model : Module, MLPClassifier or MLPRegressor
    caller : str
        The function that it is for.
    sample_shape : int, sequence of int, or None
        Of one sample; None for what the first layer takes.
    """
    network, facts = network_of(model, caller)
    layers = [layer for layer in _layers(network, "", caller) if type(layer) not in PASSING]
    takes_indices = _begins_with_embedding(layers, caller)
    dtypes = {parameter.dtype for parameter in network.parameters()}
    dtypes |= {buffer.dtype for buffer in network.buffers() if buffer.dtype.kind == "f"}
    dtypes = dtypes or {np.dtype(np.float32)}
    if len(dtypes) > 1 or not dtypes <= set(FLOAT_DTYPES):
        raise TypeError(f"{caller} takes a model of one dtype, got {' and '.join(sorted(map(str, dtypes)))}")
    if sample_shape is None:
        shape = None if takes_indices else taken_shape(layers)
        if shape is None and takes_indices:
            raise ValueError(f"{caller} finds no number of indices in the model; pass sample_shape=, () for one")
        if shape is None:
            raise ValueError(f"{caller} finds no layer with a size in the model; pass sample_shape=")
    else:
        shape = _checked_shape(sample_shape, caller, takes_indices)
    return Leaving(network, facts, dtypes.pop(), shape, _walk(network, "", shape, None), takes_indices)


def _begins_with_embedding(layers: Sequence[Module], caller: str) -> bool:
    """Whether the first layer is an ``Embedding``; raise TypeError if another one is."""
    if any(isinstance(layer, Embedding) for layer in layers[1:]):
        raise TypeError(f"{caller} takes an Embedding as the first layer, got one behind a {type(layers[0]).__name__}")
    return isinstance(next(iter(layers), None), Embedding)


def _checked_shape(sample_shape: int | Sequence[int], caller: str, may_be_empty: bool) -> Shape:
    shape = (sample_shape,) if isinstance(sample_shape, int | np.integer) else tuple(sample_shape)
    if not (shape or may_be_empty) or not all(isinstance(size, int | np.integer) and size > 0 for size in shape):
        raise ValueError(f"{caller} takes sample_shape as sizes of 1 or more, got {sample_shape!r}")
    return tuple(map(int, shape))


def network_of(model: Any, caller: str) -> tuple[Module, dict[str, Any]]:
    """Return the network of a model or a fitted estimator, and what there is to say beside it."""
    leave = getattr(model, "_leave", None)
    if leave is not None:
        network, facts = leave()
        try:
            json.dumps(facts, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{caller} writes classes that JSON can hold, got {facts['classes']!r}") from error
        return network, facts
    if not isinstance(model, Module):
        raise TypeError(
            f"{caller} takes a Module of fastbp, or a fitted MLPClassifier or MLPRegressor, got {type(model).__name__}"
        )
    return model, {}


def write(leaving: Leaving, writer: Writer) -> None:
    """Hand all layers to ``writer``, while no other thread trains the model."""
    lock = leaving.model._current().lock
    with lock:
        lock.require_free()
        _walk(leaving.model, "", leaving.sample_shape, writer)


def _layers(module: Module, name: str, caller: str) -> Iterator[Module]:
    """Yield the layers, or raise TypeError for what cannot leave."""
    place = f"{type(module).__name__} at {name!r}" if name else type(module).__name__
    own = own_methods(module)
    if own or not (is_of_the_library(type(module)) or isinstance(module, Sequential)):
        raise TypeError(
            f"{caller} writes what it can read, the library's own modules as they are, got {place} with "
            f"{own[0] if own else 'a class'} of its user's"
        )
    if isinstance(module, Elementwise):
        raise TypeError(f"{caller} writes the library's own functions, got {place} of compiled ones: {module!r}")
    if isinstance(module, ModuleList | ModuleDict):
        raise TypeError(f"{caller} takes modules that predict, got {place}, which has no forward; use nn.Sequential")
    if isinstance(module, BatchNorm1d) and module.running_mean is None:
        raise TypeError(
            f"{caller} takes a BatchNorm1d with running statistics, got {place} with track_running_stats=False, whose "
            "prediction for one sample depends on the others"
        )
    if not isinstance(module, Sequential | Residual):
        yield module
        return
    for child_name, child in module.named_children():
        yield from _layers(child, f"{name}.{child_name}" if name else child_name, caller)


def _walk(module: Module, name: str, shape: Shape, writer: Writer | None) -> Shape:
    """Hand the layers in ``module`` to ``writer``; return the shape of what it returns for a sample of ``shape``."""
    if not isinstance(module, Sequential | Residual):
        returned = returned_shape(module, shape)
        if writer is not None and type(module) not in PASSING:
            writer.add_layer(module, name, shape, returned)
        return returned
    taken = shape
    if writer is not None and isinstance(module, Residual):
        writer.begin_residual(shape)
    for child_name, child in module.named_children():
        shape = _walk(child, f"{name}.{child_name}" if name else child_name, shape, writer)
    if isinstance(module, Residual):
        if shape != taken:
            raise ValueError(
                f"Residual takes modules whose output has the shape of their input, got {shape} for {taken}"
            )
        if writer is not None:
            writer.end_residual()
    return shape

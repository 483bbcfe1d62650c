"""The shape of a sample on its way through a network: what each layer takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod
from typing import Any, TypeAlias

from fastbp.nn.batch_norm import BatchNorm1d
from fastbp.nn.embedding import Embedding
from fastbp.nn.flatten import Flatten
from fastbp.nn.glu import GLU
from fastbp.nn.layer_norm import LayerNorm
from fastbp.nn.linear import Linear
from fastbp.nn.module import Module
from fastbp.nn.prelu import PReLU
from fastbp.nn.rms_norm import RMSNorm
from fastbp.nn.softmax import LogSoftmax, Softmax

Shape: TypeAlias = tuple[int, ...]


def axis_of(layer: Softmax | LogSoftmax | GLU, shape: Shape) -> int:
    """Return the place in ``shape`` of the axis along which a layer works, or raise ValueError."""
    name, dim, axes = type(layer).__name__, layer.dim, len(shape) + 1
    if dim is None and axes != 2:
        raise ValueError(f"{name}() takes inputs of shape (n, i), got samples of shape {shape}; pass dim=-1")
    axis = 1 if dim is None else dim + axes if dim < 0 else dim
    if not 0 < axis < axes:
        raise ValueError(f"{name}(dim={dim}) takes inputs with that axis for each sample, got samples of shape {shape}")
    return axis - 1


def _linear(linear: Linear, shape: Shape) -> Shape:
    if shape[-1:] != (linear.in_features,):
        _refuse(linear, (linear.in_features,), shape)
    return (*shape[:-1], linear.out_features)


def _layer_norm(norm: LayerNorm | RMSNorm, shape: Shape) -> Shape:
    if shape[-len(norm.normalized_shape) :] != norm.normalized_shape:
        _refuse(norm, norm.normalized_shape, shape)
    return shape


def _batch_norm(norm: BatchNorm1d, shape: Shape) -> Shape:
    if shape[:1] != (norm.num_features,) or len(shape) > 2:
        _refuse(norm, (norm.num_features,), shape)
    return shape


def _prelu(prelu: PReLU, shape: Shape) -> Shape:
    if prelu.num_parameters > 1 and shape[:1] != (prelu.num_parameters,):
        _refuse(prelu, (prelu.num_parameters,), shape)
    return shape


def _softmax(softmax: Softmax | LogSoftmax, shape: Shape) -> Shape:
    axis_of(softmax, shape)
    return shape


def _glu(glu: GLU, shape: Shape) -> Shape:
    axis = axis_of(glu, shape)
    if shape[axis] % 2:
        raise ValueError(f"{glu!r} takes samples of an even number of features along that axis, got {shape}")
    return (*shape[:axis], shape[axis] // 2, *shape[axis + 1 :])


def _refuse(module: Module, taken: Shape, shape: Shape) -> None:
    raise ValueError(f"{module!r} takes samples of shape {taken}, got {shape}")


def _embedding(embedding: Embedding, shape: Shape) -> Shape:
    return (*shape, embedding.embedding_dim)


_RETURNED: dict[type[Module], Callable[[Any, Shape], Shape]] = {
    Linear: _linear, Embedding: _embedding, LayerNorm: _layer_norm, RMSNorm: _layer_norm, BatchNorm1d: _batch_norm,
    PReLU: _prelu, GLU: _glu, Softmax: _softmax, LogSoftmax: _softmax, Flatten: lambda _, shape: (prod(shape),),
}  # fmt: skip
_TAKEN: dict[type[Module], Callable[[Any], Shape | None]] = {
    Linear: lambda linear: (linear.in_features,),
    LayerNorm: lambda norm: norm.normalized_shape,
    RMSNorm: lambda norm: norm.normalized_shape,
    BatchNorm1d: lambda norm: (norm.num_features,),
    PReLU: lambda prelu: (prelu.num_parameters,) if prelu.num_parameters > 1 else None,
}


def returned_shape(layer: Module, shape: Shape) -> Shape:
    """Return the shape of what a layer of the library returns for a sample of ``shape``; raise ValueError for none."""
    rule = _RETURNED.get(type(layer))
    return shape if rule is None else rule(layer, shape)


def taken_shape(layers: Iterable[Module]) -> Shape | None:
    """Return the shape of samples that the first of ``layers`` with sizes takes; None where none has any."""
    for layer in layers:
        shape = _TAKEN.get(type(layer), lambda _: None)(layer)
        if shape is not None:
            return shape
    return None

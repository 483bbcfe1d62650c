"""A network from a file of ONNX: a chain of layers, residual blocks among them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastbp import nn
from fastbp.interop.exponential import Exponential
from fastbp.interop.onnx_operators import DOMAIN, function_module, standard_module
from fastbp.interop.onnx_write import import_onnx
from fastbp.nn.module import Module
from fastbp.nn.parameter import Parameter
from fastbp.validation.arrays import FLOAT_DTYPES, Array


def from_onnx(path: str | os.PathLike[str]) -> nn.Sequential:
    """Return the network in a file of ONNX, of ``to_onnx`` or another program. Needs ``pip install "fastbp[onnx]"``.

    Parameters
    ----------
    path : str or path
        Of a graph that is a chain of layers which the library has too: Gemm, MatMul and Add, Gather of a table's rows,
        LayerNormalization, BatchNormalization, PRelu, Softmax, LogSoftmax, Flatten, Dropout, Identity and activations;
        with residual blocks, in which a value is added to what the layers behind it make of it. float32 or float64.

    Returns
    -------
    nn.Sequential
        Its modules are numbered: a ``Sequential`` in another is resolved. Layers that share an initializer share a
        parameter. It is as ``train()`` sets it.

    Raises
    ------
    ValueError
        For a file that is no model of ONNX, and for a graph or an operator that is no such layer.
    ImportError
        Without the package ``onnx``.
    OSError
        Where the file cannot be read.
    """
    onnx = import_onnx("from_onnx")
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(os.fspath(path), format="protobuf")  # with parameters that lie in files beside it
        onnx.checker.check_model(model)
        return _Reader(onnx, model.graph).read()
    except (DecodeError, onnx.checker.ValidationError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is no model of ONNX that from_onnx can read: {error}") from error


M = TypeVar("M", bound=Module)


class _Reader:
    """One conversion.

    Parameters
    ----------
    onnx : module
    graph : GraphProto
    """

    def __init__(self, onnx: Any, graph: Any) -> None:
        self._onnx, self._graph = onnx, graph
        self.constants: dict[str, Array] = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
        self._chains: dict[str, list[Module]] = {}  # by the name of a value, the layers up to there
        self._made: dict[tuple[str, bool], Parameter] = {}  # by the name of a constant, and whether it was transposed

    def read(self) -> nn.Sequential:
        graph = self._graph
        inputs = [given.name for given in graph.input if given.name not in self.constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise ValueError(
                f"from_onnx takes a graph with one input and one output, got {len(inputs)} and {len(graph.output)}"
            )
        self._chains[inputs[0]] = []
        for node in graph.node:
            self._read_node(node)
        output = graph.output[0].name
        if output not in self._chains:
            raise ValueError("from_onnx takes a graph whose output depends on its input, got a constant")
        return nn.Sequential(*self._chains[output])

    def _read_node(self, node: Any) -> None:
        given = [name for name in node.input if name in self._chains]
        attributes = self._attributes_of(node)
        if not given:
            self._read_constant(node, attributes)
        elif node.op_type == "Add" and not node.domain and len(given) == 2:
            self._set(node, self._residual(*given))
        elif node.op_type == "Add" and not node.domain and self._takes_bias(given[0]):
            before = self._chains[given[0]]
            (bias,) = (name for name in node.input if name not in self._chains)
            self._set(node, [*before[:-1], self._with_bias(before[-1], bias, node)])
        else:
            place = 1 if node.op_type == "Gather" else 0
            if len(given) > 1 or node.input[place] != given[0]:
                self._refuse(node, attributes)
            self._set(node, [*self._chains[given[0]], *self._layers(node, attributes)])

    def _layers(self, node: Any, attributes: dict[str, Any]) -> list[Module]:
        if node.op_type == "Identity" and not node.domain:
            return []
        kind = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        reader = _READERS.get(kind)
        if reader is not None:
            layer = reader(self, node, attributes)
        elif node.domain == DOMAIN:
            layer = function_module(node.op_type, [_decimal(self.constant(name, node)) for name in node.input[1:]])
        else:
            given = {str(k): self.constant(name, node) for k, name in enumerate(node.input[1:], 1) if name}
            numbers = {k: _decimal(value) for k, value in given.items() if value.size == 1}
            layer = standard_module(node.op_type, attributes | numbers) if kind == node.op_type else None
        if layer is None:
            self._refuse(node, attributes)
        return [layer] if isinstance(layer, Module) else []

    def _residual(self, one: str, other: str) -> list[Module]:
        """Return the layers up to a sum: one of its terms is made from the other."""
        short, long = sorted((self._chains[one], self._chains[other]), key=len)
        if any(a is not b for a, b in zip(short, long)):
            raise ValueError(
                f"from_onnx takes a sum of two values as a residual block, where one is made of the other by layers, "
                f"got that of {one!r} and {other!r}"
            )
        return [*short, nn.Residual(*long[len(short) :] or [nn.Identity()])]

    def _read_constant(self, node: Any, attributes: dict[str, Any]) -> None:
        """Note the constant that a node makes of others, or refuse it."""
        name = node.output[0]
        if node.op_type == "Constant":
            values = [value for value in attributes.values() if not isinstance(value, str)]
            self.constants[name] = np.asarray(values[0]) if values else np.empty(0)
        elif node.op_type == "Identity" and node.input[0] in self.constants:
            self.constants[name] = self.constants[node.input[0]]
        elif node.op_type == "Transpose" and node.input[0] in self.constants:
            self.constants[name] = np.transpose(self.constants[node.input[0]], attributes.get("perm"))
        else:
            self._refuse(node, attributes)

    def _attributes_of(self, node: Any) -> dict[str, Any]:
        attributes = {}
        for attribute in node.attribute:
            value = self._onnx.helper.get_attribute_value(attribute)
            if isinstance(value, self._onnx.TensorProto):
                value = self._onnx.numpy_helper.to_array(value)
            attributes[attribute.name] = _decimal(np.float32(value)) if isinstance(value, float) else value
        return attributes

    def constant(self, name: str, node: Any) -> Array:
        """Return a constant input of a node, or raise ValueError."""
        if name not in self.constants:
            raise ValueError(f"from_onnx takes {node.op_type} with constants for its further inputs, got {name!r}")
        return self.constants[name]

    def parameter(self, name: str, node: Any, *, transposed: bool = False) -> Parameter:
        """Return the parameter of a constant, the same one for each layer that takes it."""
        key = name, transposed
        if key not in self._made:
            array = self.constant(name, node)
            if array.dtype not in FLOAT_DTYPES:
                raise ValueError(f"from_onnx takes parameters of float32 or float64, got {name!r} of {array.dtype}")
            self._made[key] = Parameter(np.array(array.T if transposed else array, order="C"))
        return self._made[key]

    def optional(self, node: Any, place: int) -> str | None:
        """Return the name of an input, None where it is left out."""
        return node.input[place] if len(node.input) > place and node.input[place] else None

    def is_first(self, name: str) -> bool:
        """Whether no layer makes a value of the graph's input."""
        return not self._chains[name]

    def _set(self, node: Any, layers: list[Module]) -> None:
        self._chains[node.output[0]] = layers

    def _takes_bias(self, name: str) -> bool:
        last = self._chains[name][-1:]
        return bool(last) and isinstance(last[0], nn.Linear) and last[0].bias is None

    def _with_bias(self, linear: Any, bias: str, node: Any) -> nn.Linear:
        return linear_of(linear.weight, self.parameter(bias, node))

    def _refuse(self, node: Any, attributes: dict[str, Any]) -> None:
        settings = ", ".join(f"{name}={value!r}" for name, value in attributes.items() if np.ndim(value) == 0)
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        raise ValueError(f"from_onnx knows no layer for {name}({settings}), which makes {node.output[0]!r}")


def linear_of(weight: Parameter, bias: Parameter | None) -> nn.Linear:
    """Return a layer with these parameters."""
    if weight.ndim != 2:
        raise ValueError(f"from_onnx takes weights of two axes, got one of shape {weight.shape}")
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, init="zeros", dtype=weight.dtype)
    return _with_parameters(linear, weight, bias)


def _with_parameters(layer: M, weight: Parameter | None, bias: Parameter | None) -> M:
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None:
            had = getattr(layer, name).shape
            if parameter.shape != had:
                raise ValueError(
                    f"from_onnx takes a {name} of shape {had} for a {type(layer).__name__}, got {parameter.shape}"
                )
            setattr(layer, name, parameter)
    return layer


def _gemm(reader: _Reader, node: Any, attributes: dict[str, Any]) -> Module | None:
    plain = attributes.get("alpha", 1.0) == 1 and attributes.get("beta", 1.0) == 1 and not attributes.get("transA", 0)
    bias = reader.optional(node, 2)
    weight = reader.parameter(node.input[1], node, transposed=not attributes.get("transB", 0))
    return linear_of(weight, None if bias is None else reader.parameter(bias, node)) if plain else None


def _matmul(reader: _Reader, node: Any, attributes: dict[str, Any]) -> Module:
    return linear_of(reader.parameter(node.input[1], node, transposed=True), None)


def _embedding(reader: _Reader, node: Any, attributes: dict[str, Any]) -> Module | None:
    weight = reader.parameter(node.input[0], node)
    if attributes.get("axis", 0) or weight.ndim != 2 or not reader.is_first(node.input[1]):
        return None
    layer = nn.Embedding(*weight.shape, init="zeros", dtype=weight.dtype)
    return _with_parameters(layer, weight, None)


def _layer_norm(reader: _Reader, node: Any, attributes: dict[str, Any]) -> Module | None:
    weight, bias = reader.parameter(node.input[1], node), reader.optional(node, 2)
    shift = None if bias is None else reader.parameter(bias, node)
    eps = float(reader.constant(node.input[3], node)) if node.domain == DOMAIN else attributes.get("epsilon", 1e-5)
    axis = -weight.ndim if node.domain == DOMAIN else attributes.get("axis", -1)
    norm = nn.LayerNorm(weight.shape, eps, bias=shift is not None, dtype=weight.dtype)
    return _with_parameters(norm, weight, shift) if axis == -weight.ndim else None


def _rms_norm(reader: _Reader, node: Any, attributes: dict[str, Any]) -> Module:
    weight = reader.parameter(node.input[1], node)
    norm = nn.RMSNorm(weight.shape, float(reader.constant(node.input[2], node)), dtype=weight.dtype)
    return _with_parameters(norm, weight, None)


def _batch_norm(reader: _Reader, node: Any, attributes: dict[str, Any]) -> Module | None:
    weight, bias = (reader.parameter(name, node) for name in node.input[1:3])
    eps = float(reader.constant(node.input[5], node)) if node.domain == DOMAIN else attributes.get("epsilon", 1e-5)
    norm = nn.BatchNorm1d(weight.size, eps, dtype=weight.dtype)
    norm.running_mean, norm.running_var = (reader.constant(name, node) for name in node.input[3:5])
    return None if attributes.get("training_mode") else _with_parameters(norm, weight, bias)


def _prelu(reader: _Reader, node: Any, attributes: dict[str, Any]) -> Module | None:
    slope = reader.constant(node.input[1], node)
    if slope.size != max((*slope.shape, 1)):
        return None
    prelu = nn.PReLU(slope.size, dtype=slope.dtype)
    flat = reader.parameter(node.input[1], node)
    if flat.ndim != 1:
        prelu.weight.data[...] = slope.reshape(-1)
        return prelu
    return _with_parameters(prelu, flat, None)


def _dropout(reader: _Reader, node: Any, attributes: dict[str, Any]) -> Module | None:
    ratio, mode = reader.optional(node, 1), reader.optional(node, 2)
    if mode is not None and reader.constant(mode, node):
        return None
    return nn.Dropout(0.5 if ratio is None else _decimal(reader.constant(ratio, node)))


def _flatten(reader: _Reader, node: Any, attributes: dict[str, Any]) -> Module | None:
    return nn.Flatten() if attributes.get("axis", 1) == 1 else None


_READERS: dict[str, Callable[[_Reader, Any, dict[str, Any]], Module | None]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Gather": _embedding,
    "LayerNormalization": _layer_norm,
    f"{DOMAIN}.LayerNorm": _layer_norm,
    f"{DOMAIN}.RMSNorm": _rms_norm,
    f"{DOMAIN}.GLU": lambda reader, node, attributes: nn.GLU(int(reader.constant(node.input[4], node)[0])),
    "BatchNormalization": _batch_norm,
    f"{DOMAIN}.BatchNorm1d": _batch_norm,
    "PRelu": _prelu,
    f"{DOMAIN}.PReLU": _prelu,
    "Softmax": lambda reader, node, attributes: nn.Softmax(attributes.get("axis", -1)),
    "LogSoftmax": lambda reader, node, attributes: nn.LogSoftmax(attributes.get("axis", -1)),
    "Flatten": _flatten,
    "Dropout": _dropout,
    "Exp": lambda reader, node, attributes: Exponential(),
}


def _decimal(value: Any) -> float:
    """Return the number of fewest digits that a float32 stands for: 0.01, not 0.009999999776."""
    array = np.asarray(value).reshape(())
    return float(str(array[()])) if array.dtype == np.float32 else float(array)

"""A network as a file of ONNX."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.checkpoint.atomic_write import write_atomically
from fastbp.interop.exponential import Exponential
from fastbp.interop.formulas import FORMULAS, Term
from fastbp.interop.leaving import Leaving, leaving, write
from fastbp.interop.onnx_operators import DOMAIN, IR_VERSION, OPSET, OnnxNodes, function_name, standard_for
from fastbp.interop.sample_shapes import Shape, axis_of
from fastbp.nn.activations import Activation
from fastbp.nn.batch_norm import BatchNorm1d
from fastbp.nn.embedding import Embedding
from fastbp.nn.flatten import Flatten
from fastbp.nn.glu import GLU
from fastbp.nn.layer_norm import LayerNorm
from fastbp.nn.linear import Linear
from fastbp.nn.module import Module
from fastbp.nn.parameter import Parameter
from fastbp.nn.prelu import PReLU
from fastbp.nn.rms_norm import RMSNorm
from fastbp.nn.softmax import LogSoftmax, Softmax
from fastbp.validation.arrays import Array
from fastbp.version import __version__

_LARGEST = 2**31 - 1  # bytes of a file of protobuf


def to_onnx(model: Any, path: str | os.PathLike[str], *, sample_shape: int | Sequence[int] | None = None) -> None:
    """Write a network to ``path`` in the format of ONNX, opset 20. Needs ``pip install "fastbp[onnx]"``.

    The graph takes ``input`` of shape (n, ...) for any n, and returns ``output``, which is what ``model.predict``
    returns. Parameters have their names in ``state_dict()``. Activations that ONNX has no operator for, or runtimes
    have one in float32 only, are functions within the file, made of simple operators.

    Parameters
    ----------
    model : Module, or a fitted MLPClassifier or MLPRegressor
        Of the library's layers, in float32 or float64. A classifier returns probabilities: one for each class, or for
        two classes that of the second. The classes stand in the file's metadata, as JSON under ``"fastbp"``.
    path : str or path
        The file is written whole or not at all.
    sample_shape : int or sequence of int, optional
        Of one sample; by default what the first layer with a size takes.

    Raises
    ------
    TypeError, ValueError
        For what ONNX cannot hold: modules or methods of your own, ``Elementwise``, ``BatchNorm1d`` without running
        statistics, layers that do not fit each other. Nothing is written then.
    ImportError
        Without the package ``onnx``.
    OSError
        Where the file cannot be written; what was there is left.
    """
    onnx = import_onnx("to_onnx")
    leaves = leaving(model, "to_onnx", sample_shape)
    size = sum(array.nbytes for array in leaves.model.state_dict().values())
    if size > _LARGEST - 2**20:
        raise ValueError(f"to_onnx writes models of up to 2 GiB, as ONNX has it in one file, got {size} bytes")
    graph = OnnxGraph(onnx, leaves)
    write(leaves, graph)
    write_atomically(Path(path), graph.finish().SerializeToString(deterministic=True))


def import_onnx(caller: str) -> Any:
    """Return the package ``onnx``."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f'fastbp.{caller} needs onnx: pip install "fastbp[onnx]"') from error
    return onnx


class OnnxGraph:
    """The graph, which grows layer by layer.

    Parameters
    ----------
    onnx : module
    leaves : Leaving

    Attributes
    ----------
    nodes : OnnxNodes
    dtype : dtype
    value : str
        The name of the last layer's output.
    """

    def __init__(self, onnx: Any, leaves: Leaving) -> None:
        self._onnx, self._leaves, self.dtype = onnx, leaves, leaves.dtype
        self.nodes = OnnxNodes(onnx, leaves.dtype)
        self.value = "input"
        self._initializers: dict[str, Array] = {}
        self._names: dict[Parameter, str] = {}
        self._functions: dict[str, Any] = {}
        self._residuals: list[str] = []  # what those that are open add

    def add_layer(self, layer: Any, name: str, shape: Shape, returned: Shape) -> None:
        """Add the nodes of a layer."""
        if isinstance(layer, Activation):
            self._add_activation(layer)
        else:
            ONNX_LAYERS[type(layer)](self, layer, f"{name}." if name else "", shape)

    def begin_residual(self, shape: Shape) -> None:
        """Note what is added later."""
        self._residuals.append(self.value)

    def end_residual(self) -> None:
        """Add it."""
        self.node("Add", self._residuals.pop())

    def node(self, operator: str, *inputs: str, **attributes: Any) -> None:
        """Add a node that takes the value, and other inputs, and returns the value from then on."""
        self.value = self.nodes.operator(operator, self.value, *inputs, **attributes)

    def function(
        self, name: str, inputs: Sequence[str], arguments: Sequence[str], body: Callable[..., Term | str]
    ) -> None:
        """Add a call of a function of ``DOMAIN``, and the function itself where it is the first call.

        ``body`` is called with nodes, and with terms for the value and ``inputs``; the node that it adds last returns
        the result.
        """
        if name not in self._functions:
            nodes = OnnxNodes(self._onnx, self.dtype)
            body(nodes, *(Term(nodes, given) for given in ("x", *inputs)))
            nodes.nodes[-1].output[0] = "y"
            self._functions[name] = self._onnx.helper.make_function(
                DOMAIN, name, ["x", *inputs], ["y"], nodes.nodes, [self._onnx.helper.make_opsetid("", OPSET)]
            )
        self.node(name, *arguments, domain=DOMAIN)

    def parameter(self, parameter: Parameter | None, name: str, array: Array | None = None) -> str:
        """Return the name of a parameter among the initializers, or of an ``array`` made of it; "" for no parameter."""
        if parameter is None:
            return ""
        if array is not None:
            return self.initializer(f"{self._names.setdefault(parameter, name)}.{array.ndim}d", array)
        return self.initializer(self._names.setdefault(parameter, name), parameter.data)

    def initializer(self, name: str, array: Array) -> str:
        """Return ``name``, under which the numbers of ``array`` now stand."""
        self._initializers.setdefault(name, np.array(array, order="C"))
        return name

    def scalar(self, value: float) -> str:
        """Return the name of a number among the initializers."""
        return self.initializer(f"number:{value!r}", np.array(value, self.dtype))

    def finish(self) -> Any:
        """Return the whole model, checked."""
        onnx, helper, leaves = self._onnx, self._onnx.helper, self._leaves
        if self.value == "input":
            self.node("Identity")
        self.nodes.nodes[-1].output[0] = "output"
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        shapes = {"input": leaves.sample_shape, "output": leaves.output_shape}
        ends = [helper.make_tensor_value_info(name, kind, ["n", *shape]) for name, shape in shapes.items()]
        if leaves.takes_indices:
            ends[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
        tensors = [onnx.numpy_helper.from_array(array, name) for name, array in self._initializers.items()]
        graph = helper.make_graph(self.nodes.nodes, "network", ends[:1], ends[1:], tensors)
        opsets = [helper.make_opsetid("", OPSET), *([helper.make_opsetid(DOMAIN, 1)] if self._functions else [])]
        model = helper.make_model(
            graph, functions=list(self._functions.values()), opset_imports=opsets, ir_version=IR_VERSION,
            producer_name="fastbp", producer_version=__version__,
        )  # fmt: skip
        if leaves.facts:
            helper.set_model_props(model, {"fastbp": json.dumps(leaves.facts)})
        onnx.checker.check_model(model, full_check=True)
        return model

    def _add_activation(self, module: Activation) -> None:
        found = standard_for(module, self.dtype)
        if found is not None:
            standard, attributes = found
            self.node(standard.operator, *map(self.scalar, standard.constants(module)), **attributes)
            return
        scalars = module.scalars
        self.function(
            function_name(module), [f"s{place}" for place in range(len(scalars))], list(map(self.scalar, scalars)),
            lambda nodes, *terms: FORMULAS[module.row](*terms),
        )  # fmt: skip


def _linear(graph: OnnxGraph, linear: Linear, path: str, shape: Shape) -> None:
    weight, bias = linear.weight, graph.parameter(linear.bias, f"{path}bias")
    if len(shape) == 1:
        graph.node("Gemm", graph.parameter(weight, f"{path}weight"), *([bias] if bias else []), transB=1)
        return
    graph.node("MatMul", graph.nodes.operator("Transpose", graph.parameter(weight, f"{path}weight"), perm=[1, 0]))
    if bias:
        graph.node("Add", bias)


def _embedding(graph: OnnxGraph, embedding: Embedding, path: str, shape: Shape) -> None:
    weight = graph.parameter(embedding.weight, f"{path}weight")
    graph.value = graph.nodes.operator("Gather", weight, graph.value, axis=0)


def _layer_norm(graph: OnnxGraph, norm: LayerNorm, path: str, shape: Shape) -> None:
    ones = np.ones(norm.normalized_shape, graph.dtype)
    weight = graph.parameter(norm.weight, f"{path}weight") or graph.initializer(f"{path}ones", ones)
    bias = graph.parameter(norm.bias, f"{path}bias")
    axes = len(norm.normalized_shape)
    if graph.dtype == np.float32:
        given = (weight, bias) if bias else (weight,)
        graph.node("LayerNormalization", *given, axis=-axes, epsilon=norm.eps)
        return
    if not bias:
        bias = graph.initializer(f"{path}zeros", 0 * ones)
    over = graph.initializer(f"axes:{axes}", np.arange(-axes, 0))
    arguments = [weight, bias, graph.scalar(norm.eps), over]
    graph.function("LayerNorm", ["weight", "bias", "eps", "axes"], arguments, _layer_norm_body)


def _layer_norm_body(nodes: OnnxNodes, x: Term, weight: Term, bias: Term, eps: Term, axes: Term) -> Term:
    less_mean = x - Term(nodes, nodes.operator("ReduceMean", x.written, axes.written))
    variance = Term(nodes, nodes.operator("ReduceMean", (less_mean * less_mean).written, axes.written))
    deviation = Term(nodes, nodes.operator("Sqrt", (variance + eps).written))
    return less_mean / deviation * weight + bias


def _rms_norm(graph: OnnxGraph, norm: RMSNorm, path: str, shape: Shape) -> None:
    ones, axes = np.ones(norm.normalized_shape, graph.dtype), len(norm.normalized_shape)
    weight = graph.parameter(norm.weight, f"{path}weight") or graph.initializer(f"{path}ones", ones)
    over = graph.initializer(f"axes:{axes}", np.arange(-axes, 0))
    arguments = [weight, graph.scalar(norm.eps_for(graph.dtype)), over]
    graph.function("RMSNorm", ["weight", "eps", "axes"], arguments, _rms_norm_body)


def _rms_norm_body(nodes: OnnxNodes, x: Term, weight: Term, eps: Term, axes: Term) -> Term:
    squares = Term(nodes, nodes.operator("ReduceMean", (x * x).written, axes.written))
    return x / Term(nodes, nodes.operator("Sqrt", (squares + eps).written)) * weight


def _glu(graph: OnnxGraph, glu: GLU, path: str, shape: Shape) -> None:
    axis = axis_of(glu, shape)
    half = shape[axis] // 2
    places = [graph.initializer(f"place:{place}", np.array([place])) for place in (0, half, 2 * half, axis + 1)]
    graph.function("GLU", ["start", "half", "end", "axis"], places, _glu_body)


def _glu_body(nodes: OnnxNodes, x: Term, start: Term, half: Term, end: Term, axis: Term) -> Term:
    own, gate = (
        Term(nodes, nodes.operator("Slice", x.written, first.written, last.written, axis.written))
        for first, last in ((start, half), (half, end))
    )
    return own * gate.call("sigmoid")


def _batch_norm(graph: OnnxGraph, norm: BatchNorm1d, path: str, shape: Shape) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    ones = np.ones(norm.num_features, graph.dtype)
    arguments = [
        graph.parameter(norm.weight, f"{path}weight") or graph.initializer(f"{path}ones", ones),
        graph.parameter(norm.bias, f"{path}bias") or graph.initializer(f"{path}zeros", 0 * ones),
        graph.initializer(f"{path}running_mean", norm.running_mean),
        graph.initializer(f"{path}running_var", norm.running_var),
    ]
    if graph.dtype == np.float32:
        graph.node("BatchNormalization", *arguments, epsilon=norm.eps)
        return
    arguments.append(graph.scalar(norm.eps))
    graph.function("BatchNorm1d", ["weight", "bias", "mean", "variance", "eps"], arguments, _batch_norm_body)


def _batch_norm_body(nodes: OnnxNodes, x: Term, weight: Term, bias: Term, mean: Term, variance: Term, eps: Term) -> str:
    """Add eps, which as an attribute would be rounded to float32, to the variance."""
    given = (term.written for term in (x, weight, bias, mean, variance + eps))
    return nodes.operator("BatchNormalization", *given, epsilon=0.0)


def _prelu(graph: OnnxGraph, prelu: PReLU, path: str, shape: Shape) -> None:
    weight, slopes = prelu.weight, prelu.num_parameters
    over_places = slopes > 1 and len(shape) > 1
    form = weight.data.reshape(slopes, *[1] * (len(shape) - 1)) if over_places else None
    slope = graph.parameter(weight, f"{path}weight", form)
    if graph.dtype == np.float32:
        graph.node("PRelu", slope)
    else:
        graph.function("PReLU", ["slope"], [slope], lambda nodes, x, slope: (x <= 0.0).where(x * slope, x))


def _softmax(graph: OnnxGraph, softmax: Softmax | LogSoftmax, path: str, shape: Shape) -> None:
    graph.node(type(softmax).__name__, axis=axis_of(softmax, shape) + 1)


ONNX_LAYERS: dict[type[Module], Callable[[OnnxGraph, Any, str, Shape], None]] = {
    Linear: _linear, Embedding: _embedding, LayerNorm: _layer_norm, BatchNorm1d: _batch_norm, PReLU: _prelu,
    Softmax: _softmax, LogSoftmax: _softmax, RMSNorm: _rms_norm, GLU: _glu,
    Flatten: lambda graph, *_: graph.node("Flatten", axis=1),
    Exponential: lambda graph, *_: graph.node("Exp"),
}  # fmt: skip
"""How the layers are written that are no activations."""

"""A network of the library's modules in words that JSON can hold, and the network built from them again.

    {"type": "Sequential", "modules": [
        {"type": "Linear", "in_features": 2, "out_features": 1, "bias": true, "dtype": "float32"},
        {"type": "Tanh"}]}

Modules that are not numbered from 0 have "names" beside them. A class is one row of ``_KINDS``. A setting that a file
of before does not have is at the default of the class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import signature
from typing import Any, NamedTuple

from fastbp.checkpoint.file_format import CheckpointError, require_field
from fastbp.nn.activations import Activation, activation_classes
from fastbp.nn.batch_norm import BatchNorm1d
from fastbp.nn.container import ModuleList
from fastbp.nn.dropout import AlphaDropout, Dropout
from fastbp.nn.flatten import Flatten
from fastbp.nn.identity import Identity
from fastbp.nn.layer_norm import LayerNorm
from fastbp.nn.linear import Linear
from fastbp.nn.module import Module
from fastbp.nn.parameter import Parameter
from fastbp.nn.prelu import PReLU
from fastbp.nn.residual import Residual
from fastbp.nn.sequential import Sequential
from fastbp.nn.softmax import LogSoftmax, Softmax
from fastbp.validation.arrays import Array
from fastbp.validation.user_methods import own_methods

Shapes = dict[str, tuple[tuple[int, ...], str]]
"""Shape and dtype of every parameter by its name."""


def _no_settings(module: Any) -> dict[str, Any]:
    return {}


def _no_parameters(settings: Mapping[str, Any]) -> Shapes:
    return {}


class _Kind(NamedTuple):
    """How modules of one class are written down.

    Attributes
    ----------
    module : type
    build : callable, or None
        Returns a module from its settings as keywords, or a container from modules by name; None calls the class.
    settings : mapping of str to type
        What the words hold beside the type. One that is added later needs a default of this type in the class, at which
        it changes nothing.
    describe : callable
        Returns the settings of a module.
    parameters : callable
        Returns from settings what parameters the module will have, before any memory is taken for it.
    contains : bool
        Whether it is a container: its children are written down, and it has nothing else.
    """

    module: type[Module]
    build: Callable[..., Module] | None = None
    settings: Mapping[str, type] = {}
    describe: Callable[[Any], dict[str, Any]] = _no_settings
    parameters: Callable[[Mapping[str, Any]], Shapes] = _no_parameters
    contains: bool = False


def _describe_linear(linear: Linear) -> dict[str, Any]:
    sizes = {"in_features": linear.in_features, "out_features": linear.out_features}
    return {**sizes, "bias": linear.bias is not None, "dtype": str(linear.dtype)}


def _linear_parameters(settings: Mapping[str, Any]) -> Shapes:
    shape = settings["out_features"], settings["in_features"]
    bias: Shapes = {"bias": (shape[:1], settings["dtype"])} if settings["bias"] else {}
    return {"weight": (shape, settings["dtype"]), **bias}


def _describe_activation(activation: Activation) -> dict[str, Any]:
    return {name: getattr(activation, name) for name in activation.settings}


def _build_linear(**settings: Any) -> Linear:
    return Linear(**settings, init="zeros")


def _describe_layer_norm(norm: LayerNorm) -> dict[str, Any]:
    settings = {"normalized_shape": list(norm.normalized_shape), "eps": norm.eps, "bias": norm.bias is not None}
    dtype = "float32" if norm.weight is None else str(norm.weight.dtype)
    return {**settings, "elementwise_affine": norm.elementwise_affine, "dtype": dtype}


def _layer_norm_parameters(settings: Mapping[str, Any]) -> Shapes:
    shape = tuple(settings["normalized_shape"]), settings["dtype"]
    names = ["weight"] * settings["elementwise_affine"] + ["bias"] * settings["bias"]
    return dict.fromkeys(names, shape)


def _describe_prelu(prelu: PReLU) -> dict[str, Any]:
    return {"num_parameters": prelu.num_parameters, "dtype": str(prelu.weight.dtype)}


def _prelu_parameters(settings: Mapping[str, Any]) -> Shapes:
    return {"weight": ((settings["num_parameters"],), settings["dtype"])}


def _describe_batch_norm(norm: BatchNorm1d) -> dict[str, Any]:
    settings = {"num_features": norm.num_features, "eps": norm.eps, "affine": norm.affine, "dtype": str(norm._dtype)}
    settings |= {"bias": norm.bias is not None}
    momentum = -1.0 if norm.momentum is None else norm.momentum
    return {**settings, "momentum": momentum, "track_running_stats": norm.track_running_stats}


def _build_batch_norm(momentum: float, **settings: Any) -> BatchNorm1d:
    return BatchNorm1d(momentum=None if momentum < 0 else momentum, **settings)


def _batch_norm_state(settings: Mapping[str, Any]) -> Shapes:
    shape = (settings["num_features"],), settings["dtype"]
    names = ["weight"] * settings["affine"] + ["bias"] * settings["bias"]
    names += ["running_mean", "running_var"] * settings["track_running_stats"]
    tracked: Shapes = {"num_batches_tracked": ((), "int64")} if settings["track_running_stats"] else {}
    return dict.fromkeys(names, shape) | tracked


def _describe_dropout(dropout: Dropout) -> dict[str, Any]:
    return {"p": dropout.p, "seed": dropout.seed, "forwards": dropout.forwards}


def _dropout_builder(kind: type[Dropout]) -> Callable[..., Dropout]:
    def build(p: float, seed: int, forwards: int) -> Dropout:
        dropout = kind(p, rng=0)
        dropout.seed, dropout.forwards = seed, forwards
        return dropout

    return build


def _describe_softmax(module: Softmax | LogSoftmax) -> dict[str, Any]:
    return {"dim": 1 if module.dim is None else module.dim}


_LINEAR = {"in_features": int, "out_features": int, "bias": bool, "dtype": str}
_LAYER_NORM = {"normalized_shape": list, "eps": float, "elementwise_affine": bool, "bias": bool, "dtype": str}
_BATCH_NORM = {"num_features": int, "eps": float, "affine": bool, "dtype": str, "momentum": float}
_BATCH_NORM |= {"track_running_stats": bool, "bias": bool}
_DROPOUT = {"p": float, "seed": int, "forwards": int}
_KINDS = {
    kind.module.__name__: kind
    for kind in (
        _Kind(Sequential, Sequential, contains=True),
        _Kind(ModuleList, ModuleList.named, contains=True),
        _Kind(Residual, Residual, contains=True),
        _Kind(Linear, _build_linear, _LINEAR, _describe_linear, _linear_parameters),
        _Kind(LayerNorm, None, _LAYER_NORM, _describe_layer_norm, _layer_norm_parameters),
        _Kind(PReLU, None, {"num_parameters": int, "dtype": str}, _describe_prelu, _prelu_parameters),
        _Kind(BatchNorm1d, _build_batch_norm, _BATCH_NORM, _describe_batch_norm, _batch_norm_state),
        *(_Kind(kind, _dropout_builder(kind), _DROPOUT, _describe_dropout) for kind in (Dropout, AlphaDropout)),
        *(_Kind(kind, None, {"dim": int}, _describe_softmax) for kind in (Softmax, LogSoftmax)),
        *(_Kind(kind, settings=kind.settings, describe=_describe_activation) for kind in activation_classes()),
        _Kind(Identity),
        _Kind(Flatten),
    )
}


def describe(model: Module, state: Mapping[str, Array]) -> dict[str, Any] | None:
    """Return a network in words, or None if the words would build another one.

    They would where a module is not of a class of the library itself, or has a method or parameters that its class does
    not have.

    Parameters
    ----------
    model : Module
    state : mapping of str to ndarray
        Its ``state_dict()``.
    """
    network = _describe(model)
    return network if network is not None and shapes(network) == shapes_of(state) else None


def _describe(module: Module) -> dict[str, Any] | None:
    kind = _KINDS.get(type(module).__name__)
    if kind is None or type(module) is not kind.module or own_methods(module):
        return None
    if not kind.contains:
        return {"type": kind.module.__name__, **kind.describe(module)}
    names, children = [name for name, _ in module.named_children()], [_describe(child) for child in module.children()]
    if None in children:
        return None
    numbered = names == [str(place) for place in range(len(names))]
    return {"type": kind.module.__name__, "modules": children} | ({} if numbered else {"names": names})


def shapes(network: Any) -> Shapes:
    """Return what parameters a network in words has, before any memory is taken for it, or raise CheckpointError."""
    return dict(_shapes(network, ""))


def shapes_of(state: Mapping[str, Array]) -> Shapes:
    """Return the same of a ``state_dict``."""
    return {name: (array.shape, str(array.dtype)) for name, array in state.items()}


def _shapes(network: Any, prefix: str) -> Iterator[tuple[str, tuple[tuple[int, ...], str]]]:
    kind = _kind(network)
    for name, inner in _children(network).items() if kind.contains else ():
        yield from _shapes(inner, f"{prefix}{name}.")
    for name, shape in kind.parameters(_settings(network, kind)).items():
        yield prefix + name, shape


def _children(network: Any) -> dict[str, Any]:
    """Return the modules of a container in words by their names, or raise CheckpointError."""
    modules = network["modules"]
    names = network.get("names", [str(place) for place in range(len(modules))])
    if not isinstance(names, list) or len({str(name) for name in names}) != len(modules) or len(names) != len(modules):
        raise CheckpointError("the file's network holds other names than modules")
    return dict(zip(map(str, names), modules, strict=True))


def _kind(network: Any) -> _Kind:
    """Return the kind of a module in words that are whole, or raise CheckpointError."""
    name = require_field(network, "type", str)
    if name not in _KINDS:
        raise CheckpointError(f"the file's network holds a {name}, which this fastbp does not know")
    kind = _KINDS[name]
    expected = {"modules": list} if kind.contains else kind.settings
    if kind.contains:
        require_field(network, "modules", list)
    _settings(network, kind)
    optional = ("type", "names") if kind.contains else ("type",)
    unknown = [word for word in network if word not in optional and word not in expected]
    if unknown:
        raise CheckpointError(f"the file's network holds a {name} with {unknown[0]}, which this fastbp does not know")
    return kind


def _settings(network: Mapping[str, Any], kind: _Kind) -> dict[str, Any]:
    """Return all settings of a module in words, or raise CheckpointError."""
    taken = signature(kind.module).parameters
    defaults = {name: taken[name].default for name in kind.settings if name in taken}
    words = {name: value for name, value in defaults.items() if type(value) is kind.settings[name]} | dict(network)
    return {name: require_field(words, name, value_type) for name, value_type in kind.settings.items()}


def build(network: dict[str, Any], ties: Iterable[list[str]]) -> Module:
    """Return the network of words for which ``shapes`` did not raise.

    Parameters
    ----------
    network : dict
    ties : iterable of list of str
        Names of parameters that are one, each name once.

    Raises
    ------
    ValueError
        If parameters of different shapes are to be one.
    """
    return _Builder(ties).build(network, "")


class _Builder:
    """Builds modules from the inside out, so that a ``Sequential`` lays out parameters that are tied already."""

    def __init__(self, ties: Iterable[list[str]]) -> None:
        self._first = {name: names[0] for names in ties for name in names}  # of the names of its parameter
        self._tied: dict[str, Parameter] = {}  # by the first of its names

    def build(self, network: dict[str, Any], prefix: str) -> Module:
        kind = _KINDS[network["type"]]
        make: Callable[..., Module] = kind.build or kind.module
        if kind.contains:
            children = _children(network).items()
            return make({name: self.build(inner, f"{prefix}{name}.") for name, inner in children})
        module = make(**_settings(network, kind))
        for name, parameter in list(module.named_parameters()):
            if prefix + name in self._first:
                setattr(module, name, self._tied.setdefault(self._first[prefix + name], parameter))
        return module

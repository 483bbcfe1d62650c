"""A network of the library's modules in words that JSON can hold, and the network built from them again.

    {"type": "Sequential", "modules": [
        {"type": "Linear", "in_features": 2, "out_features": 1, "bias": true, "dtype": "float32"},
        {"type": "Tanh"}]}

Modules that are not numbered from 0 have "names" beside them. What is written of a module that holds no others says its
row in ``layer_classes``. A setting that a file of before does not have is at the default of the class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import signature
from typing import Any

from fastbp.checkpoint.file_format import CheckpointError, require_field
from fastbp.nn.container import ModuleDict, ModuleList
from fastbp.nn.layer_classes import LAYER_CLASSES, LayerClass, Shapes
from fastbp.nn.module import Module
from fastbp.nn.parameter import Parameter
from fastbp.nn.residual import Residual
from fastbp.nn.sequential import Sequential
from fastbp.validation.arrays import Array
from fastbp.validation.user_methods import own_methods

_CONTAINERS: dict[type[Module], Callable[..., Module]] = {  # what builds them of modules by name
    Sequential: Sequential, ModuleList: ModuleList.named, ModuleDict: ModuleDict, Residual: Residual,
}  # fmt: skip
_BUILD_CONTAINER = {kind.__name__: build for kind, build in _CONTAINERS.items()}


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
    name = type(module).__name__
    if own_methods(module):
        return None
    if type(module) in _CONTAINERS:
        return _describe_container(module)
    row = LAYER_CLASSES.get(name)
    if row is None or type(module) is not row.module:
        return None
    settings = {setting: row.to_file(setting, value) for setting, value in row.settings_of(module).items()}
    return {"type": name, **settings, **{count: getattr(module, count) for count in row.counts}}


def _describe_container(module: Module) -> dict[str, Any] | None:
    names, children = [name for name, _ in module.named_children()], [_describe(child) for child in module.children()]
    if None in children:
        return None
    numbered = names == [str(place) for place in range(len(names))]
    return {"type": type(module).__name__, "modules": children} | ({} if numbered else {"names": names})


def shapes(network: Any) -> Shapes:
    """Return what parameters a network in words has, before any memory is taken for it, or raise CheckpointError."""
    return dict(_shapes(network, ""))


def shapes_of(state: Mapping[str, Array]) -> Shapes:
    """Return the same of a ``state_dict``."""
    return {name: (array.shape, str(array.dtype)) for name, array in state.items()}


def _shapes(network: Any, prefix: str) -> Iterator[tuple[str, tuple[tuple[int, ...], str]]]:
    _require_whole(network)
    if network["type"] in _BUILD_CONTAINER:
        for name, inner in _children(network).items():
            yield from _shapes(inner, f"{prefix}{name}.")
        return
    row = LAYER_CLASSES[network["type"]]
    for name, shape in row.state(_words(network, row)).items():
        yield prefix + name, shape


def _children(network: Any) -> dict[str, Any]:
    """Return the modules of a container in words by their names, or raise CheckpointError."""
    modules = network["modules"]
    names = network.get("names", [str(place) for place in range(len(modules))])
    if not isinstance(names, list) or len({str(name) for name in names}) != len(modules) or len(names) != len(modules):
        raise CheckpointError("the file's network holds other names than modules")
    return dict(zip(map(str, names), modules, strict=True))


def _require_whole(network: Any) -> None:
    """Raise CheckpointError unless a module in words is one, with all that belongs to it."""
    name = require_field(network, "type", str)
    if name in _BUILD_CONTAINER:
        require_field(network, "modules", list)
        expected = {"modules", "names"}
    elif name in LAYER_CLASSES:
        row = LAYER_CLASSES[name]
        expected = {*_words(network, row)}
    else:
        raise CheckpointError(f"the file's network holds a {name}, which this fastbp does not know")
    unknown = [word for word in network if word != "type" and word not in expected]
    if unknown:
        raise CheckpointError(f"the file's network holds a {name} with {unknown[0]}, which this fastbp does not know")


def _words(network: Mapping[str, Any], row: LayerClass) -> dict[str, Any]:
    """Return all settings and counts of a module in words, or raise CheckpointError."""
    taken, expected = signature(row.module).parameters, {**row.settings, **row.counts}
    defaults = {name: taken[name].default for name in expected if name in taken}
    words = {name: value for name, value in defaults.items() if type(value) is expected[name]} | dict(network)
    return {name: require_field(words, name, value_type) for name, value_type in expected.items()}


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
        if network["type"] in _BUILD_CONTAINER:
            children = _children(network).items()
            made = {name: self.build(inner, f"{prefix}{name}.") for name, inner in children}
            return _BUILD_CONTAINER[network["type"]](made)
        row = LAYER_CLASSES[network["type"]]
        words = _words(network, row)
        module = row.build({name: row.from_file(name, words[name]) for name in row.settings})
        for name in row.counts:
            setattr(module, name, words[name])
        for name, parameter in list(module.named_parameters()):
            if prefix + name in self._first:
                setattr(module, name, self._tied.setdefault(self._first[prefix + name], parameter))
        return module

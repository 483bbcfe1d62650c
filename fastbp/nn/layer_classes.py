"""The list of layers: what builds a module of each, what it has, and its twin in PyTorch.

Files, conversions from and to PyTorch, ``warmup`` and tests go over it. What a layer computes is the row of the same
name in ``fastbp_kernels.layers.registry``, or in that of activations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.nn.activations import activation_classes
from fastbp.nn.batch_norm import BatchNorm1d
from fastbp.nn.dropout import AlphaDropout, Dropout
from fastbp.nn.embedding import Embedding
from fastbp.nn.flatten import Flatten
from fastbp.nn.glu import GLU
from fastbp.nn.identity import Identity
from fastbp.nn.layer_norm import LayerNorm
from fastbp.nn.linear import Linear
from fastbp.nn.module import Module
from fastbp.nn.prelu import PReLU
from fastbp.nn.rms_norm import RMSNorm
from fastbp.nn.softmax import LogSoftmax, Softmax

Settings = Mapping[str, Any]
Shapes = dict[str, tuple[tuple[int, ...], str]]
"""Shape and dtype of every parameter and buffer by its name."""


_NO_SETTINGS: dict[str, Any] = {}
_NONE = -1.0  # in files, for settings that are numbers of 0 or more


def _nothing(settings: Settings) -> Shapes:
    return {}


class LayerClass(NamedTuple):
    """One layer.

    Attributes
    ----------
    module : type
    settings : mapping of str to type
        The arguments that build a module, each of which is read from its attribute too: "bias" is whether there is one,
        "dtype" the name of its parameters'. One that is added later needs a default, at which it changes nothing.
    state : callable
        Returns from settings what parameters and buffers the module will have, before any memory is taken for it.
    example : mapping
        Settings of a small module, for inputs of 2 features.
    not_in_torch : tuple of str
        Settings that PyTorch's class of the same name does not take.
    in_torch : bool
        Whether there is one.
    without_draws : mapping
        Arguments with which no random numbers are drawn for parameters that are then set.
    none_in_file : mapping
        What a file holds for a setting that is None: ``_NONE``, or another value of the same meaning.
    takes_indices : bool
        Whether inputs are integers.
    counts : mapping of str to type
        Attributes that are no arguments, but are kept in a file beside the settings.
    """

    module: type[Module]
    settings: Mapping[str, type] = _NO_SETTINGS
    state: Callable[[Settings], Shapes] = _nothing
    example: Settings = _NO_SETTINGS
    not_in_torch: tuple[str, ...] = ()
    in_torch: bool = True
    without_draws: Settings = _NO_SETTINGS
    none_in_file: Settings = _NO_SETTINGS
    takes_indices: bool = False
    counts: Mapping[str, type] = _NO_SETTINGS

    @property
    def name(self) -> str:
        return self.module.__name__

    def settings_of(self, module: Any) -> dict[str, Any]:
        """Return the settings of a module of this class, or of its twin in PyTorch."""
        return {name: _READ.get(name, getattr)(module, name) for name in self.settings}

    def to_file(self, name: str, value: Any) -> Any:
        """Return what a file holds for a value of a setting."""
        if value is None:
            return self.none_in_file[name]
        return list(value) if isinstance(value, tuple) else value

    def from_file(self, name: str, value: Any) -> Any:
        """Return the value of a setting for what a file holds."""
        return None if self.none_in_file.get(name) == _NONE and value < 0 else value

    def build(self, settings: Settings) -> Module:
        """Return a module whose parameters are to be set."""
        return self.module(**settings, **self.without_draws)

    def build_example(self, dtype: npt.DTypeLike = np.float32) -> Module:
        """Return a small module for inputs of 2 features."""
        return self.module(**self.example, **({"dtype": dtype} if "dtype" in self.settings else {}))


def _has_bias(module: Any, name: str) -> bool:
    return module.bias is not None


def _dtype_name(module: Any, name: str) -> str:
    arrays = (getattr(module, array, None) for array in ("weight", "running_mean"))
    own = next((array.dtype for array in arrays if array is not None), getattr(module, "_dtype", np.dtype(np.float32)))
    return str(own).removeprefix("torch.")


_READ: dict[str, Callable[[Any, str], Any]] = {"bias": _has_bias, "dtype": _dtype_name}


def _linear_state(settings: Settings) -> Shapes:
    shape = settings["out_features"], settings["in_features"]
    bias: Shapes = {"bias": (shape[:1], settings["dtype"])} if settings["bias"] else {}
    return {"weight": (shape, settings["dtype"]), **bias}


def _affine(has_weight: bool, has_bias: bool) -> tuple[str, ...]:
    return ("weight", "bias")[: has_weight + (has_weight and has_bias)]


def _layer_norm_state(settings: Settings) -> Shapes:
    shape = tuple(settings["normalized_shape"]), settings["dtype"]
    return dict.fromkeys(_affine(settings["elementwise_affine"], settings["bias"]), shape)


def _rms_norm_state(settings: Settings) -> Shapes:
    return _layer_norm_state({**settings, "bias": False})


def _embedding_state(settings: Settings) -> Shapes:
    return {"weight": ((settings["num_embeddings"], settings["embedding_dim"]), settings["dtype"])}


def _prelu_state(settings: Settings) -> Shapes:
    return {"weight": ((settings["num_parameters"],), settings["dtype"])}


def _batch_norm_state(settings: Settings) -> Shapes:
    shape = (settings["num_features"],), settings["dtype"]
    parameters: Shapes = dict.fromkeys(_affine(settings["affine"], settings["bias"]), shape)
    if not settings["track_running_stats"]:
        return parameters
    return parameters | {"running_mean": shape, "running_var": shape, "num_batches_tracked": ((), "int64")}


_BATCH_NORM = {"num_features": int, "eps": float, "affine": bool, "dtype": str, "momentum": float}
_BATCH_NORM |= {"track_running_stats": bool, "bias": bool}
_LISTED = (
    LayerClass(
        Linear, {"in_features": int, "out_features": int, "bias": bool, "dtype": str}, _linear_state,
        {"in_features": 2, "out_features": 2}, without_draws={"init": "zeros"},
    ),
    LayerClass(
        LayerNorm, {"normalized_shape": list, "eps": float, "elementwise_affine": bool, "bias": bool, "dtype": str},
        _layer_norm_state, {"normalized_shape": 2},
    ),
    LayerClass(
        RMSNorm, {"normalized_shape": list, "eps": float, "elementwise_affine": bool, "dtype": str}, _rms_norm_state,
        {"normalized_shape": 2}, none_in_file={"eps": _NONE},
    ),
    LayerClass(
        Embedding, {"num_embeddings": int, "embedding_dim": int, "padding_idx": int, "dtype": str}, _embedding_state,
        {"num_embeddings": 3, "embedding_dim": 2}, without_draws={"init": "zeros"}, none_in_file={"padding_idx": -1},
        takes_indices=True,
    ),
    LayerClass(GLU, {"dim": int}),
    LayerClass(PReLU, {"num_parameters": int, "dtype": str}, _prelu_state),
    LayerClass(BatchNorm1d, _BATCH_NORM, _batch_norm_state, {"num_features": 2}, none_in_file={"momentum": _NONE}),
    *(LayerClass(each, {"p": float}, counts={"seed": int, "forwards": int}) for each in (Dropout, AlphaDropout)),
    *(LayerClass(each, {"dim": int}, example={"dim": 1}, none_in_file={"dim": 1}) for each in (Softmax, LogSoftmax)),
    *(LayerClass(each, each.settings, example=each.example) for each in activation_classes()),
    LayerClass(Identity),
    LayerClass(Flatten),
)  # fmt: skip
LAYER_CLASSES = {row.name: row for row in _LISTED}

"""Conversion of networks from and to PyTorch, which is imported only here and only when called.

A parameter that several layers share is one in the copy too. What the copy would not compute or train in the same way
is refused: hooks, frozen parameters, methods and parts that the user added to a module.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain
from typing import TYPE_CHECKING, Any

from fastbp import nn
from fastbp.nn.activations import activation_classes
from fastbp.validation.user_methods import own_methods, set_in_place_of_methods

if TYPE_CHECKING:
    import torch

# By the classes without parameters: what they are built with, as attributes in both libraries.
_SETTINGS = {kind.__name__: tuple(kind.settings) for kind in activation_classes()} | {
    "Dropout": ("p",), "AlphaDropout": ("p",), "Softmax": ("dim",), "LogSoftmax": ("dim",),
    "Identity": (), "Flatten": (),
}  # fmt: skip
_WITH_PARAMETERS = ("Linear", "LayerNorm", "BatchNorm1d", "PReLU")
_KINDS = (*_WITH_PARAMETERS, *_SETTINGS, "Sequential")
_CONVERTED = f"{', '.join(_KINDS[:-1])} and {_KINDS[-1]}"
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")  # of torch's modules
_GRADIENT_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")  # of its tensors; None before the first


def from_torch(module: torch.nn.Module) -> nn.Module:
    """Return a copy of a torch network of ``Linear``, ``LayerNorm``, activations, dropout and ``Sequential``.

    Parameters
    ----------
    module : torch.nn.Module
        With float32 or float64 parameters, on any device. Layers that share a parameter share it in the copy, and
        frozen ones stay frozen. A module that stands at several places becomes as many modules, which share all their
        parameters.

    Raises
    ------
    TypeError
        For a module of another kind, with hooks or parametrizations, or with methods or parts that the user added, and
        for parameters of another dtype.
    ValueError
        For parameters that share memory without being one.
    """
    conversion = _FromTorch(_import_torch("from_torch"))
    model = conversion.convert(module, "")
    conversion.require_own_memory()
    return model


def to_torch(model: nn.Module) -> torch.nn.Module:
    """Return a copy of a fastbp network as a torch module, of the same modules as ``from_torch`` takes.

    Layers that share a parameter share it in the copy, and frozen ones stay frozen.

    Raises
    ------
    TypeError
        For a module of another kind, or with methods or parameters that the user added.
    """
    module = _ToTorch(_import_torch("to_torch")).convert(model, "")
    lost = [name for name in model.state_dict() if name not in module.state_dict()]
    if lost:
        raise TypeError(f"to_torch converts parameters of {_CONVERTED}, got {', '.join(lost)} besides")
    return module


class _FromTorch:
    """One conversion from torch.

    Parameters
    ----------
    torch : module
    """

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._made: dict[Any, nn.Parameter] = {}  # by torch's, which hash by identity
        self._names: dict[Any, str] = {}  # the first name of each

    def convert(self, module: Any, path: str) -> nn.Module:
        if isinstance(module, self._torch.nn.Module):
            self._refuse_parametrized(module, path)
        kind = _kind(module, path, self._torch.nn, "from_torch")
        _refuse_additions(module, path, kind)
        if kind == "Sequential":
            children = module._modules.items()  # named_children would yield one that stands at two places once
            return nn.Sequential({name: self.convert(child, _joined(path, name)) for name, child in children})
        if kind in _WITH_PARAMETERS:
            return self._convert_with_parameters(module, path, kind)
        converted: nn.Module = getattr(nn, kind)(**_settings(module, kind))
        converted.training = module.training
        return converted

    def _convert_with_parameters(self, module: Any, path: str, kind: str) -> nn.Module:
        own = {"weight": module.weight, "bias": getattr(module, "bias", None)}
        theirs = {name: parameter for name, parameter in own.items() if parameter is not None}
        for name, parameter in theirs.items():
            self._require_takable(parameter, _joined(path, name))
        dtype = _dtype_name(module.weight) if theirs else "float32"
        ours: nn.Module
        if kind == "Linear":
            ours = nn.Linear(module.in_features, module.out_features, "bias" in theirs, init="zeros", dtype=dtype)
        elif kind == "LayerNorm":
            ours = nn.LayerNorm(module.normalized_shape, module.eps, bool(theirs), "bias" in theirs, dtype=dtype)
        elif kind == "PReLU":
            ours = nn.PReLU(module.num_parameters, dtype=dtype)
        else:
            tracks = module.track_running_stats
            dtype = _dtype_name(module.running_mean) if tracks else dtype
            features, eps, momentum = module.num_features, module.eps, module.momentum
            ours = nn.BatchNorm1d(features, eps, momentum, bool(theirs), tracks, dtype=dtype, bias="bias" in theirs)
            ours.training = module.training
        for name, buffer in ours.named_buffers():
            buffer[...] = getattr(module, name).detach().cpu().numpy()
        for name, parameter in theirs.items():
            if parameter in self._made:
                setattr(ours, name, self._made[parameter])
            else:
                made = self._made[parameter] = getattr(ours, name)
                made.data = parameter.detach().cpu().numpy()
                made.requires_grad = parameter.requires_grad
                self._names[parameter] = _joined(path, name)
        return ours

    def _refuse_parametrized(self, module: Any, path: str) -> None:
        if self._torch.nn.utils.parametrize.is_parametrized(module):
            name = next(iter(module.parametrizations))
            raise TypeError(
                f"from_torch copies parameters, got {_place(module, path)} with a parametrized {name}; make that one "
                f"first: torch.nn.utils.parametrize.remove_parametrizations(module, {name!r})"
            )

    def _require_takable(self, parameter: Any, name: str) -> None:
        if not isinstance(parameter, self._torch.nn.Parameter):
            raise TypeError(f"from_torch copies parameters, got a {type(parameter).__name__} as {name!r}")
        dtype = _dtype_name(parameter)
        if dtype not in ("float32", "float64"):
            raise TypeError(
                f"from_torch takes float32 or float64 parameters, got {dtype} in {name!r}; convert with module.float()"
            )
        if any(getattr(parameter, kind, None) for kind in _GRADIENT_HOOKS):
            raise TypeError(f"from_torch copies no hooks, got {name!r} with a hook on its gradient; remove it first")

    def require_own_memory(self) -> None:
        """Raise ValueError if two parameters have elements in common: as copies they would no longer move together."""
        by_memory: dict[int, list[Any]] = {}
        for parameter in self._names:
            by_memory.setdefault(parameter.untyped_storage().data_ptr(), []).append(parameter)
        for sharing in by_memory.values():
            if len(sharing) > 1:
                self._require_apart(sharing)

    def _require_apart(self, sharing: list[Any]) -> None:
        elements = sharing[0].untyped_storage().nbytes() // sharing[0].element_size()
        owners = self._torch.full((elements,), -1)
        for number, parameter in enumerate(sharing):
            own = owners.as_strided(parameter.shape, parameter.stride(), parameter.storage_offset())
            if own.max() >= 0:
                first, second = self._names[sharing[own.max()]], self._names[parameter]
                raise ValueError(
                    f"from_torch takes parameters that are one or apart, got {first!r} and {second!r} with common "
                    "memory; tie them as one parameter, module.weight = other.weight, or give one of them a clone()"
                )
            own.fill_(number)


class _ToTorch:
    """One conversion to torch.

    Parameters
    ----------
    torch : module
    """

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._made: dict[nn.Parameter, Any] = {}

    def convert(self, model: Any, path: str) -> Any:
        kind = _kind(model, path, nn, "to_torch")
        _refuse_added(own_methods(model), model, path, "to_torch")
        if kind == "Sequential":
            children = model.named_children()
            converted = {name: self.convert(child, _joined(path, name)) for name, child in children}
            return self._torch.nn.Sequential(OrderedDict(converted))
        if kind in _WITH_PARAMETERS:
            return self._convert_with_parameters(model, kind)
        return getattr(self._torch.nn, kind)(**_settings(model, kind)).train(model.training)

    def _convert_with_parameters(self, ours: Any, kind: str) -> Any:
        torch = self._torch
        # Without memory yet, and without numbers drawn from torch's generator.
        options: dict[str, Any] = {"device": "meta"}
        if kind == "Linear":
            options |= {"dtype": getattr(torch, str(ours.dtype))}
            module = torch.nn.Linear(ours.in_features, ours.out_features, ours.bias is not None, **options)
        elif kind == "LayerNorm":
            affine, bias = ours.elementwise_affine, ours.bias is not None
            module = torch.nn.LayerNorm(ours.normalized_shape, ours.eps, affine, bias, **options)
        elif kind == "PReLU":
            module = torch.nn.PReLU(ours.num_parameters, **options)
        else:
            features, eps, momentum, tracks = ours.num_features, ours.eps, ours.momentum, ours.track_running_stats
            if ours.affine and ours.bias is None:  # PyTorch has this since 2.13
                options["bias"] = False
            module = torch.nn.BatchNorm1d(features, eps, momentum, ours.affine, tracks, **options).train(ours.training)
        for name, buffer in ours.named_buffers():
            setattr(module, name, torch.tensor(buffer))
        for name in ("weight", "bias"):
            parameter = getattr(ours, name, None)
            if parameter is None:
                continue
            if parameter not in self._made:
                self._made[parameter] = torch.nn.Parameter(torch.tensor(parameter.data), parameter.requires_grad)
            setattr(module, name, self._made[parameter])
        return module


def _settings(module: Any, kind: str) -> dict[str, Any]:
    """Return what a module of either library was built with."""
    return {name: getattr(module, name) for name in _SETTINGS[kind]}


def _kind(module: Any, path: str, library: Any, caller: str) -> str:
    """Return the name of a module's class, if it is just that one of ``library``, or raise TypeError."""
    kind = type(module).__name__
    if kind not in _KINDS or type(module) is not getattr(library, kind):
        raise TypeError(f"{caller} converts {_CONVERTED}, got {_place(module, path)}")
    return kind


def _refuse_additions(module: Any, path: str, kind: str) -> None:
    """Raise TypeError for hooks of a torch module, and for methods or parts that its class does not have."""
    for hook in chain.from_iterable(getattr(module, hooks).values() for hooks in _HOOKS):
        name = getattr(hook, "__name__", type(hook).__name__)
        raise TypeError(f"from_torch copies no hooks, got {_place(module, path)} with the hook {name}; remove it first")
    parameters = module.named_parameters(recurse=False, remove_duplicate=False)
    parts = [name for name, _ in chain(parameters, module.named_buffers(recurse=False))]
    parts += [] if kind == "Sequential" else [name for name, _ in module.named_children()]
    own = ("weight", "bias", *getattr(nn, kind)._buffer_names) if kind in _WITH_PARAMETERS else ()
    added = set_in_place_of_methods(module) + [name for name in parts if name not in own]
    _refuse_added(added, module, path, "from_torch")


def _refuse_added(added: list[str], module: Any, path: str, caller: str) -> None:
    if added:
        raise TypeError(
            f"{caller} converts {_CONVERTED} as they are, got {_place(module, path)} with {added[0]} of its own"
        )


def _dtype_name(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _place(module: Any, path: str) -> str:
    """Return a module's kind, and where it is within what is converted."""
    return f"{type(module).__name__} at {path!r}" if path else type(module).__name__


def _import_torch(caller: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(f'{caller} needs PyTorch: pip install "fastbp[torch]"') from error
    return torch

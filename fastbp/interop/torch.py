"""Conversion of networks from and to PyTorch, which is imported only here and only when called.

A parameter that several layers share is one in the copy too. What the copy would not compute or train in the same way
is refused: hooks, frozen parameters, methods and parts that the user added to a module.
"""

from __future__ import annotations

from collections import OrderedDict
from inspect import signature
from itertools import chain
from typing import TYPE_CHECKING, Any

from fastbp import nn
from fastbp.nn.layer_classes import LAYER_CLASSES
from fastbp.validation.user_methods import own_methods, set_in_place_of_methods

if TYPE_CHECKING:
    import torch

_ROWS = {name: row for name, row in LAYER_CLASSES.items() if row.in_torch}
_KINDS = (*_ROWS, "Sequential")
_CONVERTED = f"{', '.join(_KINDS[:-1])} and {_KINDS[-1]}"
# Arguments of torch's classes that change nothing of what a module computes once its parameters are there.
_WITHOUT_EFFECT = {"inplace", "device", "dtype", "init"}
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")  # of torch's modules
_PARAMETERS = ("weight", "bias")
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
        _refuse_other_settings(module, path, kind)
        row = _ROWS[kind]
        own = {name: getattr(module, name, None) for name in _PARAMETERS}
        theirs = {name: parameter for name, parameter in own.items() if parameter is not None}
        for name, parameter in theirs.items():
            self._require_takable(parameter, _joined(path, name))
        ours = row.build(row.settings_of(module))
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
        row, torch = _ROWS[kind], self._torch
        settings = {name: value for name, value in row.settings_of(model).items() if name not in row.not_in_torch}
        if settings.get("bias") or getattr(model, "weight", None) is None:
            settings.pop("bias", None)  # which some of PyTorch's classes only take since late
        settings.pop("dtype", None)
        # Without memory yet, and without numbers drawn from torch's generator.
        options = {"device": "meta"} if "dtype" in row.settings else {}
        module = getattr(torch.nn, kind)(**settings, **options).train(model.training)
        for name, buffer in model.named_buffers():
            setattr(module, name, torch.tensor(buffer))
        for name in _PARAMETERS:
            parameter = getattr(model, name, None)
            if parameter is None:
                continue
            if parameter not in self._made:
                self._made[parameter] = torch.nn.Parameter(torch.tensor(parameter.data), parameter.requires_grad)
            setattr(module, name, self._made[parameter])
        return module


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
    row = _ROWS.get(kind)
    own = () if row is None else row.state(row.settings_of(module))
    added = set_in_place_of_methods(module) + [name for name in parts if name not in own]
    _refuse_added(added, module, path, "from_torch")


def _refuse_other_settings(module: Any, path: str, kind: str) -> None:
    """Raise TypeError for a torch module with a setting that is not at its default and that our class does not have."""
    for name, argument in signature(type(module)).parameters.items():
        if name in _ROWS[kind].settings or name in _WITHOUT_EFFECT:
            continue
        value = getattr(module, name, argument.default)
        if value is not argument.default and value != argument.default:
            raise TypeError(f"from_torch takes no {name}, got {_place(module, path)} with {name}={value!r}")


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

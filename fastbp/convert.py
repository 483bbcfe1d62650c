"""Conversion of networks from and to PyTorch, which is imported only here and only when called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastbp import nn

if TYPE_CHECKING:
    import torch


def from_torch(module: torch.nn.Module) -> nn.Module:
    """Return a copy of a torch network of ``Linear``, ``ReLU``, ``Tanh``, ``Sigmoid`` and ``Sequential``.

    Parameters
    ----------
    module : torch.nn.Module
        With float32 or float64 parameters, on any device.

    Raises
    ------
    TypeError
        For a module of another kind, or one whose parameters have another dtype.
    """
    torch = _import_torch("from_torch")
    if type(module) is torch.nn.Sequential:
        return nn.Sequential(*map(from_torch, module))
    if type(module) is torch.nn.Linear:
        dtype = str(module.weight.dtype).removeprefix("torch.")
        if dtype not in ("float32", "float64"):
            raise TypeError(f"from_torch takes float32 or float64 parameters, got {dtype}; convert with module.float()")
        linear = nn.Linear(module.in_features, module.out_features, module.bias is not None, init="zeros", dtype=dtype)
        linear.load_state_dict(module.state_dict())
        return linear
    for name in ("ReLU", "Tanh", "Sigmoid"):
        if type(module) is getattr(torch.nn, name):
            activation: nn.Module = getattr(nn, name)()
            return activation
    raise TypeError(
        f"from_torch converts Linear, ReLU, Tanh, Sigmoid and Sequential of torch.nn, got {type(module).__name__}"
    )


def to_torch(model: nn.Module) -> torch.nn.Module:
    """Return a copy of a fastbp network of ``Linear``, activations and ``Sequential`` as a torch module.

    Raises
    ------
    TypeError
        For a module of another kind.
    """
    torch = _import_torch("to_torch")
    if type(model) is nn.Sequential:
        return torch.nn.Sequential(*map(to_torch, model))
    if type(model) is nn.Linear:
        dtype = getattr(torch, str(model.dtype))
        linear = torch.nn.Linear(model.in_features, model.out_features, model.bias is not None, dtype=dtype)
        linear.load_state_dict({name: torch.from_numpy(value) for name, value in model.state_dict().items()})
        return linear
    if type(model) in (nn.ReLU, nn.Tanh, nn.Sigmoid):
        return getattr(torch.nn, type(model).__name__)()
    raise TypeError(f"to_torch converts Linear, ReLU, Tanh, Sigmoid and Sequential, got {type(model).__name__}")


def _import_torch(caller: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(f'{caller} needs PyTorch: pip install "fastbp[torch]"') from error
    return torch

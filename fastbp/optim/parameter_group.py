"""An optimiser's parameters and options as an entry of PyTorch's ``param_groups``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbp.optim import SGD

# What torch.optim.SGD takes besides params and lr, at the values that change nothing.
NEUTRAL_OPTIONS: dict[str, Any] = {
    "momentum": 0,
    "dampening": 0,
    "weight_decay": 0,
    "nesterov": False,
    "maximize": False,
    "foreach": None,
    "differentiable": False,
    "fused": None,
}


def refuse_unsupported(options: Mapping[str, Any]) -> None:
    """Raise TypeError for options that PyTorch's SGD has not, ValueError for those that would change the step."""
    unknown = [name for name in options if name not in NEUTRAL_OPTIONS]
    if unknown:
        raise TypeError(f"SGD takes params and lr, got {', '.join(unknown)}")
    asked = [f"{name}={value!r}" for name, value in options.items() if value]
    if asked:
        raise ValueError(f"SGD computes parameter -= lr * grad and does not support {', '.join(asked)}")


class ParameterGroup(MutableMapping[str, Any]):
    """The one group of an optimiser: "params", "lr", and PyTorch's other options at the values that change nothing.

    "lr" is the optimiser's, read and set. The other options may be set to what changes nothing; "params", a tuple,
    cannot be set.
    """

    __slots__ = ("_opt",)

    def __init__(self, opt: SGD) -> None:
        self._opt = opt

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return self._opt.parameters
        return self._opt.lr if name == "lr" else NEUTRAL_OPTIONS[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "params":
            raise TypeError("SGD keeps the parameters that it was built over; build a new one for others")
        if name == "lr":
            self._opt.lr = value
        else:
            refuse_unsupported({name: value})

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"the entries of a parameter group cannot be removed, got {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(("params", "lr", *NEUTRAL_OPTIONS))

    def __len__(self) -> int:
        return 2 + len(NEUTRAL_OPTIONS)

    def __repr__(self) -> str:
        return f"ParameterGroup({len(self._opt.parameters)} parameters, lr={self._opt.lr})"

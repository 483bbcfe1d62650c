"""An optimiser's parameters and options as an entry of PyTorch's ``param_groups``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbp.optim.optimizer import Optimizer


def refuse_unsupported(kind: type[Optimizer], options: Mapping[str, Any]) -> None:
    """Raise TypeError for options that PyTorch's optimiser has not, ValueError for those that would change the step."""
    unknown = [name for name in options if name not in kind.neutral_options]
    if unknown:
        raise TypeError(f"{kind.__name__} takes params and {', '.join(kind.settings)}, got {', '.join(unknown)}")
    asked = [f"{name}={value!r}" for name, value in options.items() if value]
    if asked:
        raise ValueError(f"{kind.__name__} computes {kind.formula} and does not support {', '.join(asked)}")


class ParameterGroup(MutableMapping[str, Any]):
    """The one group of an optimiser: "params", its settings, and PyTorch's other options at what changes nothing.

    The settings, such as "lr", are the optimiser's, read and set. The other options may be set to what changes nothing;
    "params", a tuple, cannot be set.
    """

    __slots__ = ("_opt",)

    def __init__(self, opt: Optimizer) -> None:
        self._opt = opt

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return self._opt.parameters
        return getattr(self._opt, name) if name in self._opt.settings else self._opt.neutral_options[name]

    def __setitem__(self, name: str, value: Any) -> None:
        kind = type(self._opt)
        if name == "params":
            raise TypeError(f"{kind.__name__} keeps the parameters that it was built over; build a new one for others")
        if name in kind.settings:
            setattr(self._opt, name, value)
        else:
            refuse_unsupported(kind, {name: value})

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"the entries of a parameter group cannot be removed, got {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(("params", *self._opt.settings, *self._opt.neutral_options))

    def __len__(self) -> int:
        return 1 + len(self._opt.settings) + len(self._opt.neutral_options)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self._opt, name)}" for name in self._opt.settings)
        return f"ParameterGroup({len(self._opt.parameters)} parameters, {settings})"

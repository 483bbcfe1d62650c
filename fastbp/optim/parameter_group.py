"""An optimiser's parameters and options as an entry of PyTorch's ``param_groups``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.validation.scalars import require_finite

if TYPE_CHECKING:
    from fastbp.nn.parameter import Parameter
    from fastbp.optim.optimizer import Optimizer

# What PyTorch adds to a group that was built of named parameters, and what schedulers keep there: no step reads it.
NOTES = frozenset(("param_names", "initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum"))


def refuse_unsupported(kind: type[Optimizer], options: Mapping[str, Any]) -> None:
    """Raise TypeError for options that PyTorch's optimiser has not, ValueError for those that would change the step."""
    unknown = [name for name in options if name not in kind.neutral_options]
    if unknown:
        raise TypeError(f"{kind.__name__} takes params and {', '.join(kind.settings)}, got {', '.join(unknown)}")
    asked = [f"{name}={value!r}" for name, value in options.items() if value]
    if asked:
        raise ValueError(f"{kind.__name__} has one compiled step and does not support {', '.join(asked)}; leave it out")


class ParameterGroup(MutableMapping[str, Any]):
    """Some parameters of an optimiser with settings of their own.

    "params", a tuple, cannot be set. The settings, such as "lr", may be set between steps, and PyTorch's other options
    to what changes nothing. What schedulers note, such as "initial_lr", is kept.
    """

    def __init__(self, opt: Optimizer, params: tuple[Parameter, ...], settings: Mapping[str, Any]) -> None:
        self._opt, self._params = opt, params
        self._values: dict[str, Any] = {}
        self._notes: dict[str, Any] = {}
        self._values = {name: self.checked(name, value) for name, value in settings.items()}

    @property
    def values_by_name(self) -> Mapping[str, Any]:
        """The settings alone."""
        return self._values

    @property
    def notes(self) -> Mapping[str, Any]:
        """What schedulers have noted."""
        return self._notes

    def checked(self, name: str, value: Any) -> Any:
        """Return what a setting of ``value`` is kept as, or raise TypeError or ValueError."""
        owner = type(self._opt).__name__
        checked = self._opt.settings[name].check(owner, name, value)
        largest = max(checked, default=0.0) if isinstance(checked, tuple) else checked
        for dtype in {parameter.dtype for parameter in self._params}:
            if abs(largest) > float(np.finfo(dtype).max):
                article = "an" if name[0] in "aeiol" else "a"
                raise ValueError(
                    f"{owner} takes {article} {name} that {dtype} holds, the parameters' dtype, got {value!r}"
                )
        return checked

    def put(self, name: str, value: Any) -> None:
        """Set what ``checked`` has returned."""
        self._values[name] = value
        self._opt.settings_changed()

    def take_notes(self, notes: Mapping[str, Any]) -> None:
        """Keep notes in place of those before."""
        self._notes = dict(notes)

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            return self._params
        if name in self._values:
            return self._values[name]
        return self._notes[name] if name in self._notes else self._opt.neutral_options[name]

    def __setitem__(self, name: str, value: Any) -> None:
        kind = type(self._opt)
        if name == "params":
            raise TypeError(
                f"{kind.__name__} keeps the parameters that it was built over; add others with add_param_group, or "
                "build a new one"
            )
        if name in kind.settings:
            self.put(name, self.checked(name, value))
        elif name == "param_names":
            self._notes[name] = value
        elif name in NOTES:
            self._notes[name] = require_finite(value, kind.__name__, name)
        else:
            refuse_unsupported(kind, {name: value})

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"the entries of a parameter group cannot be removed, got {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(("params", *self._values, *self._opt.neutral_options, *self._notes))

    def __len__(self) -> int:
        return 1 + len(self._values) + len(self._opt.neutral_options) + len(self._notes)

    def __repr__(self) -> str:
        return f"ParameterGroup({self.described()})"

    def described(self) -> str:
        """Return the number of parameters, the learning rate, and the other settings that are not PyTorch's default."""
        kind = type(self._opt)
        shown = {
            name: value for name, value in self._values.items() if name == "lr" or value != kind.settings[name].default
        }
        return ", ".join([f"{len(self._params)} parameters", *(f"{name}={value}" for name, value in shown.items())])

"""Settings of optimisers, such as a learning rate: each group of parameters has its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.validation.scalars import require_finite

if TYPE_CHECKING:
    from fastbp.optim.optimizer import Optimizer

Check = Callable[[str, str, Any], Any]
"""``check(owner, name, value)`` returns the value as it is kept, or raises TypeError or ValueError."""


class Setting:
    """An attribute of an optimiser: read from its first group, set in all of them.

    Parameters
    ----------
    default : object
        PyTorch's.
    check : callable
    """

    def __init__(self, default: Any, check: Check) -> None:
        self.default, self.check = default, check
        self.name = ""

    def __set_name__(self, kind: type, name: str) -> None:
        self.name = name

    def __get__(self, opt: Optimizer | None, kind: type | None = None) -> Any:
        return self if opt is None else opt._groups[0].values_by_name[self.name]

    def __set__(self, opt: Optimizer, value: Any) -> None:
        groups = opt.param_groups
        checked = [group.checked(self.name, value) for group in groups]
        for group, own in zip(groups, checked, strict=True):
            group.put(self.name, own)


def not_negative(owner: str, name: str, value: Any) -> float:
    """Take a finite number of 0 or more; an int stays one, as in PyTorch."""
    number = require_finite(value, owner, name, least=0)
    return value if type(value) is int else number


def any_finite(owner: str, name: str, value: Any) -> float:
    """Take a finite number."""
    number = require_finite(value, owner, name)
    return value if type(value) is int else number


def up_to_one(owner: str, name: str, value: Any) -> float:
    """Take a number from 0 to 1."""
    number = not_negative(owner, name, value)
    if number > 1:
        raise ValueError(f"{owner} takes {name} from 0 to 1, got {value!r}")
    return number


def flag(owner: str, name: str, value: Any) -> bool:
    """Take True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{owner} takes {name} as True or False, got {value!r}")
    return bool(value)


def two_betas(owner: str, name: str, value: Any) -> tuple[float, float]:
    """Take two numbers from 0 up to, but not, 1."""
    one, two = _pair(owner, name, value, "beta")
    if not (one < 1 and two < 1):
        raise ValueError(f"{owner} takes {name} below 1, got {value!r}")
    return one, two


def two_etas(owner: str, name: str, value: Any) -> tuple[float, float]:
    """Take a number between 0 and 1 and one above 1."""
    one, two = _pair(owner, name, value, "eta")
    if not 0 < one < 1 < two:
        raise ValueError(f"{owner} takes {name} as one between 0 and 1 and one above 1, got {value!r}")
    return one, two


def two_step_sizes(owner: str, name: str, value: Any) -> tuple[float, float]:
    """Take the least and the largest size of a step."""
    return _pair(owner, name, value, "step size")


def _pair(owner: str, name: str, value: Any, what: str) -> tuple[float, float]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{owner} takes {name} as a tuple of two numbers, got {value!r}")
    one, two = (not_negative(owner, what, number) for number in value)
    return one, two

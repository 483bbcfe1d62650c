"""Settings of modules that may be set between forwards, as in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Setting:
    """An attribute of a module that is checked whenever it is set, and that the engine reads anew from then on.

    Parameters
    ----------
    check : callable
        ``check(owner, name, value)`` returns the value as it is kept, or raises for the class called ``owner``.
    """

    def __init__(self, check: Callable[[str, str, Any], Any]) -> None:
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name, self._place = name, f"_{name}"

    def __get__(self, module: Any, owner: type | None = None) -> Any:
        return self if module is None else vars(module)[self._place]

    def __set__(self, module: Any, value: Any) -> None:
        vars(module)[self._place] = self._check(type(module).__name__, self._name, value)
        module.changed()

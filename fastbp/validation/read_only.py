"""Properties that can only be read: an attempt to set one says so, and what to do instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

T = TypeVar("T", bound=type)


def tell_read_only(cls: T, remedy: str, others: Mapping[str, str] | None = None) -> T:
    """Let the public properties of ``cls`` that have no setter raise AttributeError with a remedy where one is set.

    Parameters
    ----------
    cls : type
    remedy : str
        What to do instead, as the message says it.
    others : mapping of str to str
        The remedies of some properties, by their names.
    """
    for name, member in list(vars(cls).items()):
        if isinstance(member, property) and member.fset is None and not name.startswith("_"):
            setattr(cls, name, member.setter(_refusal(name, (others or {}).get(name, remedy))))
    return cls


def _refusal(name: str, remedy: str) -> Any:
    def refuse(owner: Any, value: Any) -> NoReturn:
        raise AttributeError(f"{type(owner).__name__}.{name} is read-only, got {value!r} for it; {remedy}")

    return refuse

"""Names of PyTorch that a module has not: the error says what it has."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NoReturn


def missing(module: str, known: Collection[str], torch_names: Collection[str]) -> Callable[[str], NoReturn]:
    """Return a module's ``__getattr__``, which Python calls for names that are not there.

    It raises AttributeError, as Python would, so that ``hasattr`` and ``from module import name`` work as ever.

    Parameters
    ----------
    module : str
        The module's name.
    known : collection of str
        What it has, listed where one of ``torch_names`` is missed. The module's ``__all__``.
    torch_names : collection of str
        What PyTorch has there.
    """

    def refuse(name: str) -> NoReturn:
        if name in torch_names:
            raise AttributeError(f"{module} has {', '.join(known)}; {name} is not there")
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return refuse

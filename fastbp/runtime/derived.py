"""What was found out about modules and parameters, and holds until one of them changes.

A model's flat vectors, its table for the engine and its optimiser's vectors are found once. Each of them is told by
whatever it was found from: a module whose parts change, a storage that a parameter leaves. Other models change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakSet


class Derived:
    """Something that is found from sources.

    Attributes
    ----------
    is_current : bool
        Whether no source has changed since.
    """

    __slots__ = ("__weakref__", "is_current")

    def __init__(self, sources: Iterable[Source]) -> None:
        self.is_current = True
        for source in dict.fromkeys(sources):
            source.add_derived(self)


class Source:
    """A module or a storage, as that from which something is found."""

    __slots__ = ()

    _derived_from_this: WeakSet[Derived] | None

    def add_derived(self, derived: Derived) -> None:
        """Tell ``derived`` of the next change."""
        if self._derived_from_this is None:
            object.__setattr__(self, "_derived_from_this", WeakSet())
        assert self._derived_from_this is not None
        self._derived_from_this.add(derived)

    def changed(self) -> None:
        """Tell everything that was found from this."""
        if self._derived_from_this is not None:
            for derived in self._derived_from_this:
                derived.is_current = False
            object.__setattr__(self, "_derived_from_this", None)

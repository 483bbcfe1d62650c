"""What was found out about modules and parameters, and holds until one of them changes.

A model's flat vectors, its table for the engine and its optimiser's vectors are found once. Each of them is told by
whatever it was found from: a module whose parts change, a storage that a parameter leaves. Other models change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from weakref import ref


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
    """A module or a storage, as that from which something is found.

    What it keeps for that is one list for ever, to which any thread may add: who dies leaves it by itself.
    """

    __slots__ = ()

    @property
    def _derived_from_this(self) -> list[ref[Derived]]:
        raise NotImplementedError

    def add_derived(self, derived: Derived) -> None:
        """Tell ``derived`` of the next change."""
        told = self._derived_from_this
        told.append(ref(derived, told.remove))

    def changed(self) -> None:
        """Tell everything that was found from this."""
        for reference in tuple(self._derived_from_this):
            derived = reference()
            if derived is not None:
                derived.is_current = False

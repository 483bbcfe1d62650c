"""Which names of a model are one parameter: in the model, in a file, and whether the two agree.

Ties are lists of names, such as ``[["0.weight", "2.weight"]]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from fastbp.checkpoint.file_format import CheckpointError
from fastbp.nn.module import Module
from fastbp.nn.parameter import Parameter
from fastbp.validation.arrays import Array

Ties = list[list[str]]


def find_ties(model: Module) -> Ties:
    """Return the names that are one parameter, two or more together, in the order of ``state_dict()``."""
    names: dict[Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    return [together for together in names.values() if len(together) > 1]


def require_ties(note: Any, state: Mapping[str, Array]) -> Ties:
    """Return the ties that a file notes, or raise CheckpointError unless they are lists of names, each once."""
    if not isinstance(note, list) or not all(isinstance(names, list) for names in note):
        raise CheckpointError("the file's tied is no list of lists")
    seen: set[str] = set()
    for name in chain.from_iterable(note):
        if not isinstance(name, str) or name not in state:
            raise CheckpointError(f"the file ties {name!r}, which is none of its parameters")
        if name in seen:
            raise CheckpointError(f"the file ties {name} twice")
        seen.add(name)
    return note


def match_ties(model: Module, state: Mapping[str, Array], ties: Ties | None) -> dict[str, Array]:
    """Return ``state`` with a value for every name of a tied parameter of ``model`` of which it has one.

    Parameters
    ----------
    model : Module
    state : mapping of str to ndarray
        Parameters from a file.
    ties : list of list of str, or None
        As the file notes them; None where it says nothing of them.

    Raises
    ------
    CheckpointError
        Where the file notes other ties than the model's, or has different values for one parameter of the model.
    """
    own, filled = find_ties(model), dict(state)
    if ties is not None and model.state_dict().keys() == state.keys():
        _require_same(ties, own)
    for names in own:
        present = [name for name in names if name in state]
        _require_one_value(present, state)
        filled |= {name: state[present[0]] for name in names if present}
    return filled


def _require_same(ties: Ties, own: Ties) -> None:
    there, here = {frozenset(names) for names in ties}, {frozenset(names) for names in own}
    if there != here:
        raise CheckpointError(
            f"the file ties {_in_words(names for names in ties if frozenset(names) not in here)}, "
            f"the model ties {_in_words(names for names in own if frozenset(names) not in there)}; "
            "tie the model's layers as in the file first: one.weight = other.weight"
        )


def _in_words(ties: Iterator[list[str]]) -> str:
    return " and ".join(" = ".join(names) for names in ties) or "nothing"


def _require_one_value(names: list[str], state: Mapping[str, Array]) -> None:
    """Raise CheckpointError unless all have the bits of the first, NaN and the signs of zeros included."""
    for name in names[1:]:
        first, other = state[names[0]], state[name]
        if (first.shape, first.dtype) != (other.shape, other.dtype) or first.tobytes() != other.tobytes():
            raise CheckpointError(f"the file holds different values for {names[0]} and {name}, which the model ties")

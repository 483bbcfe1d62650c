"""The random orders in which the epochs of a training take the rows."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.validation.arrays import Array, RandomSource, require_generator

if TYPE_CHECKING:
    from fastbp.training.history import History

BIT_GENERATORS: dict[str, type[np.random.BitGenerator]] = {
    kind.__name__: kind
    for kind in (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64)
}


class EpochShuffler:
    """Draws random orders ahead of their use, and puts them back as if they had not been drawn.

    Parameters
    ----------
    generator : numpy.random.Generator or None
        None leaves the rows as they stand.
    rows : int
        May be set between orders.
    state : dict or None
        Of the generator from ``begin`` on; None leaves it as it is.
    """

    def __init__(self, generator: np.random.Generator | None, rows: int, state: Any = None) -> None:
        self._first_state = state
        self._generator, self.rows = generator, rows
        self._drawn: list[tuple[Any, Array]] = []  # the generator's state before each order, and the order

    def begin(self) -> None:
        """Let the generator stand where the orders go on."""
        if self._generator is not None and self._first_state is not None:
            self._generator.bit_generator.state = self._first_state

    def draw(self, epochs: int) -> list[Array]:
        """Return the orders of so many epochs, beginning with the first that is not finished; none unless shuffled."""
        if self._generator is None:
            return []
        while len(self._drawn) < epochs:
            self._drawn.append((self._generator.bit_generator.state, self._generator.permutation(self.rows)))
        return [order for _, order in self._drawn[:epochs]]

    def finish(self, epochs: int) -> None:
        """Forget the orders of so many epochs."""
        del self._drawn[:epochs]

    @property
    def state(self) -> Any:
        """The generator's state before the order of the first epoch that is not finished; None unless shuffled."""
        if self._generator is None:
            return None
        return self._drawn[0][0] if self._drawn else self._generator.bit_generator.state

    def put_back(self, keep: int) -> None:
        """Let the generator stand where it has drawn the orders of so many unfinished epochs and no more."""
        if self._generator is not None and len(self._drawn) > keep:
            self._generator.bit_generator.state = self._drawn[keep][0]
            del self._drawn[keep:]


def shuffler_for(rng: RandomSource, shuffle: bool, history: History, rows: int) -> EpochShuffler:
    """Return what shuffles a training that begins, or goes on where its history stands, or raise an error."""
    state = history.position.generator if history.has_begun else None
    return EpochShuffler(generator_at(rng, shuffle, state), rows, state)


def generator_at(rng: RandomSource, shuffle: bool, state: Any) -> np.random.Generator | None:
    """Return ``rng`` itself, or the generator that it seeds, after checking that it can go on from ``state``."""
    if state is None:
        if rng is None and not shuffle:
            return None
        generator = require_generator(rng, "train_model")
        if not shuffle:
            raise ValueError(
                f"train_model takes rng with shuffle=True, got rng={rng!r} without it; pass shuffle=True, or no rng"
            )
        return generator
    kind = state["bit_generator"]
    if not isinstance(rng, np.random.Generator):
        seeded = require_generator(rng, "train_model")
        return np.random.Generator(BIT_GENERATORS[kind]()) if kind in BIT_GENERATORS else seeded
    if rng.bit_generator.state["bit_generator"] != kind:
        raise ValueError(
            f"train_model takes the rng of the history, a {kind}, got a {type(rng.bit_generator).__name__}"
        )
    return rng


def state_to_json(state: Any) -> Any:
    """Return a generator's state without arrays, or raise TypeError for a generator that is not NumPy's."""
    if state is None:
        return None
    if state["bit_generator"] not in BIT_GENERATORS:
        raise TypeError(f"the state of NumPy's own generators can be saved, got a {state['bit_generator']}")
    return _without_arrays(state)


def state_from_json(state: Any) -> Any:
    """Return a generator's state from ``state_to_json``, or raise ValueError if no generator can be in it."""
    if state is None:
        return None
    try:
        generator = BIT_GENERATORS[state["bit_generator"]](0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # NumPy 1 warns of -1, takes it and returns another
            generator.state = state
        found = generator.state
        position, last = found.get("buffer_pos", found["state"].get("pos", 0)), 4 if "buffer_pos" in found else 624
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, IndexError) as error:
        raise ValueError("the state of the random generator is none") from error
    if _without_arrays(found) != state or not 0 <= position <= last or found.get("has_uint32", 0) not in (0, 1):
        raise ValueError("the state of the random generator is none")
    return found


def _without_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_arrays(inner) for name, inner in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

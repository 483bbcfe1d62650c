"""How much a compiled call of the engine does: Ctrl-C, a deadline and whoever looks on wait for its end."""

from __future__ import annotations

from math import inf

CALL_SECONDS = 0.1
FIRST_FLOP = 3e8  # operations of the first call, whose speed is not known yet: 3 to 30 milliseconds
_FLOP_PER_BATCH = 1e5  # operations that take as long as what there is to do for a mini-batch of the smallest network
_GROWTH = 8  # from one call to the next, at most: the speed of a short one says little


def first_length(flop: float, rows: int) -> int:
    """Return the mini-batches of a first call, each of ``rows`` rows that take ``flop`` operations forward."""
    return max(1, int(FIRST_FLOP / (3 * flop * rows + _FLOP_PER_BATCH)))


def next_length(length: int, done: int, seconds: float, left: float = inf) -> int:
    """Return the mini-batches of the next call.

    The last one was to do ``length`` and did ``done`` of them in ``seconds``; a deadline is ``left`` seconds away.
    """
    wanted = min(CALL_SECONDS, left)
    return max(1, min(_GROWTH * length, int(done * wanted / max(seconds, 1e-9))))

"""Stop a commit that breaks the engine's speed: ``python -m bench.guard``, in seconds.

Trains the original task, validation included, in fastbp and in PyTorch in turn, and fails when fastbp's lead is less
than half of what docs/why.md states, which is what ``bench/results/speed.json`` holds. Half, because the machine of
continuous integration is another one and has more to do: noise must not stop a commit.
"""

from __future__ import annotations

import sys

from bench.goals import Measured, seconds
from bench.speed_report import load
from bench.workers import Workers, in_turn
from bench.workloads import ORIGINAL

LEAST = 0.5  # of the lead that is stated
ROUNDS, SECONDS = 9, 0.1
LIBRARIES = ("torch", "fastbp")


def main() -> None:
    stated = lead(load()["results"]["float32"][ORIGINAL.name])
    found = measure()
    print(f"{ORIGINAL.name}: PyTorch takes {found:.1f} times the time of fastbp; docs/why.md states {stated:.1f}.")
    if found < LEAST * stated:
        sys.exit(f"That is less than {LEAST:g} of it: something has made the engine slower.")


def lead(measured: Measured) -> float:
    """Return PyTorch's time over fastbp's, each at its best number of threads, as docs/why.md has it."""
    return seconds(measured, "torch") / seconds(measured, "fastbp")


def measure() -> float:
    """Return PyTorch's time over fastbp's here and now, one thread each: the smallest of several, in turn."""
    with Workers(LIBRARIES, (1,)) as workers:
        contests = [(workers[library, 1], ORIGINAL) for library in LIBRARIES]
        for worker, workload in contests:
            worker.prepare(workload)
        torch, ours = map(min, in_turn(contests, ROUNDS, SECONDS))
    return torch / ours


if __name__ == "__main__":
    main()

"""How small is small: a training step of fastbp, PyTorch and JAX by width and mini-batch: ``python -m bench.small``.

ReLU networks of three layers of equal width, float32, one and two threads; each library at its better one. Writes
``bench/results/small.json``, which ``python -m bench.performance`` draws. Some minutes, on a machine with nothing else
to do.
"""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from time import perf_counter, strftime
from typing import Any

from bench import machine
from bench.contenders import PEERS
from bench.tables import save_table
from bench.workers import Workers, in_turn
from bench.workloads import square

NAME = "small"
LIBRARIES = ("fastbp", "torch", "jax")
WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
MINI_BATCHES = (1, 4, 16, 64, 256, 1024, 4096)
ROUNDS, SECONDS = 3, 0.06


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.small", description=__doc__.partition("\n")[0])
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--mini-batches", type=int, nargs="+", default=MINI_BATCHES)
    args = parser.parse_args()

    start = perf_counter()
    threads = (1, 2) if (os.cpu_count() or 1) > 1 else (1,)
    libraries = [name for name in LIBRARIES if find_spec(PEERS[name].package)]
    with Workers(libraries, threads) as workers:
        rows = []
        for width in args.widths:
            print(f"{strftime('%H:%M:%S')} width {width}", flush=True)
            rows.append([_measure(workers, libraries, threads, width, size) for size in args.mini_batches])
    print(f"All of it took {perf_counter() - start:.0f} s.")
    save_table(
        {
            "date": strftime("%Y-%m-%d"),
            "machine": machine.describe() | machine.versions("jax"),
            "widths": list(args.widths),
            "mini_batches": list(args.mini_batches),
            "seconds": {name: [[cell[name] for cell in row] for row in rows] for name in libraries},
        },
        NAME,
    )


def _measure(
    workers: Workers, libraries: list[str], threads: tuple[int, ...], width: int, mini_batch: int
) -> dict[str, Any]:
    """Return each library's seconds of a step at its better number of threads, the smallest of several in turn."""
    workload = square(width, mini_batch)
    keys = [(name, count) for name in libraries for count in threads]
    for key in keys:
        workers[key].prepare(workload)
    times = in_turn([(workers[key], workload) for key in keys], ROUNDS, SECONDS)
    return {name: min(min(each) for (peer, _), each in zip(keys, times) if peer == name) for name in libraries}


if __name__ == "__main__":
    main()

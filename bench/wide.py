"""Wide layers on all cores of any machine: ``python -m bench.wide``, in at most four minutes.

Needs NumPy and numba, and measures PyTorch and JAX where they are installed. Prints the machine with its caches, the
limit of one core and of all, products of matrices and trainings at 1, 2, 4, ... threads beside the others, and on a
machine with a GPU the trainings there. Stores all of it under the machine's name in ``bench/results/wide.json``, from
which ``python -m bench.performance`` makes a column for each machine.

Each library has a process for each number of threads, and they work in turn; what is told is the least of some rounds.
The rows stand in the order of their weight: where the time is over, the last ones are left out, and are named.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from math import inf
from time import perf_counter, sleep, strftime
from typing import Any

from bench import machine
from bench.contenders import GPU_PEERS, PEERS
from bench.tables import load_table, save_table
from bench.wide_report import NAME, format_machine
from bench.workers import Workers
from bench.workloads import DISK, TILE, TRAININGS, Product, Training, Workload, at
from fastbp.runtime.cores import available_cores
from fastbp_kernels.compiler.cache_sizes import cache_sizes

MINUTES = 4.0
AT_THE_END = 10.0  # seconds for what was begun when the time is over
# Of a measurement, or one run. A training is a call, which takes memory and starts threads before its first step.
SECONDS, TRAINING_SECONDS = 0.03, 0.1
# PyTorch's threads look for more work for some milliseconds after they had some, on cores that another library needs.
REST = 0.01
ROUNDS = 20
SMALL = 1 << 20  # steps of fewer operations take one thread in every library
DTYPES = ("float32", "float64")
LIBRARIES = ("fastbp", "torch", "jax")

SHAPES = (
    (1024, 1024, 1024), (256, 512, 512), (1024, 2048, 2048), (128, 784, 128), (640, 1536, 900), (1000, 1000, 1000),
    (77, 301, 1003),
)  # fmt: skip


def _training(widths: tuple[int, ...], mini_batch: int, steps: int) -> Training:
    name = f"{'-'.join(map(str, widths))} ReLU, batch {mini_batch:,}"
    return Training(name, widths=widths, samples=steps * mini_batch, mini_batch=mini_batch)


WIDE_TRAININGS = (
    _training((784, 512, 512, 10), 256, 4),
    _training((784, 1024, 1024, 10), 1024, 2),
    _training((256, 256, 256, 256, 1), 4096, 2),
    _training((784, 512, 512, 10), 4, 16),
    _training((784, 512, 512, 10), 16, 16),
    _training((784, 2048, 2048, 10), 1024, 1),
    _training((784, 128, 10), 128, 8),
    *(workload for workload in TRAININGS if workload == DISK or workload.widths == (64, 64, 64, 8)),
)
PRODUCTS = tuple(
    Product(f"{of} of {n} × {i} × {o}", of=of, n=n, i=i, o=o)
    for n, i, o in SHAPES
    for of in ("output", "grad_input", "grad_weight")
)


ROWS = tuple(  # those first that say most
    at(workload, dtype)
    for dtype in DTYPES
    for workload in (*WIDE_TRAININGS[:6], *PRODUCTS[:12], *WIDE_TRAININGS[6:], *PRODUCTS[12:])
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.wide", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="when to end (default: %(default)g)")
    args = parser.parse_args()
    deadline = perf_counter() + 60 * args.minutes - AT_THE_END
    cores = available_cores()
    found = measure(thread_counts(cores), deadline)
    table: dict[str, Any] = {
        "date": strftime("%Y-%m-%d"),
        "machine": machine.describe() | machine.versions("jax") | ({"gpu": gpu_name()} if gpu_name() else {}),
        "cores": cores,
        "caches": cache_sizes()._asdict(),
        **found,
    }
    print("\n".join(format_machine(table)))
    machines = (load_table(NAME) or {}) | {machine.label(): table}
    save_table(machines, NAME)


def thread_counts(cores: int) -> list[int]:
    """Return 1, 2, 4, ... and the number of cores."""
    return sorted({*(1 << bit for bit in range(cores.bit_length())), cores})


def gpu_name() -> str:
    """Return the name of the GPU that PyTorch finds, or nothing."""
    if find_spec("torch") is None:
        return ""
    import torch

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else ""


def measure(threads: list[int], deadline: float) -> dict[str, Any]:
    """Return what was measured until ``deadline``, by this process's clock."""
    libraries = [name for name in LIBRARIES if find_spec(PEERS[name].package)]
    gpus = [name for name in GPU_PEERS if gpu_name() and find_spec(GPU_PEERS[name].package)]
    with Workers(libraries, threads) as workers, Workers(gpus, [1]) as on_gpu:
        every = {(name, each): workers[name, each] for name in libraries for each in threads}
        contest = Contest(every | {(name, 1): on_gpu[name, 1] for name in gpus}, threads[-1], deadline)
        contest.run()
    return contest.table()


class Contest:
    """All rows by all libraries that run them, in turn; the least seconds of some rounds are kept.

    Parameters
    ----------
    workers : dict
        Workers by library and number of threads.
    cores : int
        The largest number of threads.
    deadline : float
        When to begin nothing more, by ``perf_counter``.
    """

    def __init__(self, workers: Mapping[tuple[str, int], Any], cores: int, deadline: float) -> None:
        self._workers, self._cores, self._deadline = workers, cores, deadline
        self._runs: dict[tuple[str, int, Workload], bool] = {}  # whether the library runs the workload
        self._limits: dict[str, dict[str, float]] = {dtype: {} for dtype in DTYPES}
        self._seconds: dict[str, dict[str, Any]] = {dtype: {} for dtype in DTYPES}
        self._rounds = 0

    def table(self) -> dict[str, Any]:
        """Return what was measured.

        "limits" of the tile in flop a second, by dtype and number of cores; "seconds" of a step, by dtype, row, library
        and threads; the number of whole "rounds"; and what was "left_out", dtype and row.
        """
        left_out = [f"{row.name}, {row.dtype}" for row in ROWS if row.name not in self._seconds[row.dtype]]
        return {
            "rounds": self._rounds, "limits": self._limits, "seconds": self._seconds, "left_out": left_out
        }  # fmt: skip

    def run(self) -> None:
        """Measure until the time is over, or all rounds are done."""
        while self._rounds < ROUNDS and self._round():
            self._rounds += 1

    def _round(self) -> bool:
        """Measure everything once; return whether there was time for it."""
        _say(f"round {self._rounds + 1}")
        for dtype in DTYPES:
            for cores in {1, self._cores}:
                self._limit(dtype, cores)
        keys = list(self._workers)
        for workload in ROWS:
            for name, threads in keys if self._rounds % 2 == 0 else reversed(keys):
                if perf_counter() > self._deadline:
                    return False
                if threads == 1 or workload.flop > SMALL:
                    self._time(workload, name, threads)
        return True

    def _limit(self, dtype: str, cores: int) -> None:
        tile, worker = replace(at(TILE, dtype), cores=cores), self._workers["fastbp", cores]
        seconds, best = self._measured("fastbp", cores, tile), self._limits[dtype].get(str(cores), 0.0)
        self._limits[dtype][str(cores)] = max(best, worker.flop(tile) / seconds)

    def _time(self, workload: Workload, name: str, threads: int) -> None:
        seconds = self._measured(name, threads, workload)
        if seconds < inf:
            of_row = self._seconds[workload.dtype].setdefault(workload.name, {}).setdefault(name, {})
            of_row[str(threads)] = min(of_row.get(str(threads), inf), seconds)

    def _measured(self, name: str, threads: int, workload: Workload) -> float:
        """Return the seconds of a step, or infinity where the library does not run such workloads."""
        worker, key = self._workers[name, threads], (name, threads, workload)
        if key not in self._runs:
            self._runs[key] = worker.prepare(workload) is not False
        if not self._runs[key]:
            return inf
        sleep(REST)
        return float(worker.measure(workload, TRAINING_SECONDS if isinstance(workload, Training) else SECONDS))


def _say(what: str) -> None:
    print(f"{strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

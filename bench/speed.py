"""Speed beside the peers, all in one run: ``python -m bench.speed`` (``make speed``).

Measures every workload of ``bench.workloads`` in every library of ``bench.peers``, each at one and at two threads, in
turn, with the arithmetic limit of a core measured beside each; prints them with the goals of ``bench.goals``. Each
round goes through all workloads: what else goes on in the machine for some seconds spoils no more than one round.

All libraries start from the same weights, take the same rows in the same order, and must have arrived at the same
weights after an epoch. Compilation and warm-up come before the timing. A whole run writes ``bench/results/speed.json``
and the chart.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, strftime
from typing import Any

import numpy as np

from bench import machine, speed_report
from bench.contenders import PEERS, sampled
from bench.goals import COLD, FIRST_STEP, WARM
from bench.recipes import RECIPES
from bench.tables import save_table
from bench.workers import Workers, one_round
from bench.workloads import (
    LINEARS,
    PREDICT,
    SWEEP,
    TANH,
    TILE,
    TRAININGS,
    Training,
    Workload,
    at,
    new_architecture,
)

DTYPES = ("float32", "float64")
# What was learned in an epoch may differ by so much of itself between libraries: rounding, not another training.
AGREEMENT = {"float32": 1e-2, "float64": 1e-8}
ROUNDS, SECONDS = 7, 0.15
KERNEL_SECONDS = 0.1
COLD_ROUNDS = 3  # each compiles for some ten seconds, and is compared with nobody
WHOLE_PROCESS = Path(__file__).with_name("whole_process.py")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two short rounds: to see that it works, not to quote")
    parser.add_argument("--dtype", choices=DTYPES, help="only this one (default: both)")
    parser.add_argument("--only", metavar="NAME", help="only workloads with NAME in their names")
    parser.add_argument("--page", action="store_true", help="measure nothing; write the last results into docs/why.md")
    args = parser.parse_args()
    if args.page:
        speed_report.write_page(speed_report.load())
        return

    start = perf_counter()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        print(f"The machine is busy (load average {load:.1f}): the times below are not worth much.", flush=True)
    missing = [peer.label for peer in PEERS.values() if find_spec(peer.package) is None]
    if missing:
        print(f"Not installed, and left out: {', '.join(missing)}.")
    table: dict[str, Any] = {
        "date": strftime("%Y-%m-%d"),
        "machine": machine.describe() | machine.versions("scikit-learn", "jax"),
        "load_average_before": load,
        "rounds": 2 if args.quick else ROUNDS,
        "results": {},
    }
    threads = (1, 2) if (os.cpu_count() or 1) > 1 else (1,)
    peers = [name for name, peer in PEERS.items() if find_spec(peer.package) is not None]
    with Workers(peers, threads) as workers:
        run = _Measurement(workers, peers, threads, table["rounds"], 0.3 if args.quick else 1.0, args.only or "")
        for dtype in [args.dtype] if args.dtype else DTYPES:
            table["results"][dtype] = run.measure(dtype)
            print(f"\n{speed_report.format_table(table, dtype)}\n", flush=True)
    print(f"All of it took {perf_counter() - start:.0f} s.")
    if not (args.quick or args.only or args.dtype):
        save_table(table, speed_report.NAME)
        speed_report.draw(table)


class _Measurement:
    """Measures everything: ``rounds`` rounds, all lengths times ``scale``, workloads with ``only`` in their names."""

    def __init__(
        self, workers: Workers, peers: list[str], threads: tuple[int, ...], rounds: int, scale: float, only: str
    ) -> None:
        self._workers, self._peers, self._threads = workers, peers, threads
        self._rounds, self._scale, self._only = rounds, scale, only

    def measure(self, dtype: str) -> dict[str, Any]:
        """Return for each workload what ``bench.goals`` reads."""
        swept = ("fastbp", "torch", "jax") if dtype == "float32" else ("fastbp", "torch")
        groups: tuple[tuple[tuple[Workload, ...], tuple[str, ...], tuple[int, ...], float], ...] = (
            (TRAININGS, tuple(self._peers), self._threads, SECONDS),
            (RECIPES if dtype == "float32" else (), tuple(self._peers), (1,), SECONDS),
            (SWEEP, swept, self._threads, KERNEL_SECONDS),
            ((*LINEARS, TANH, PREDICT), tuple(self._peers), (1,), KERNEL_SECONDS),
        )
        contests = []
        for workloads, peers, threads, seconds in groups:
            keys = [(peer, count) for peer in peers if peer in self._peers for count in threads]
            for workload in self._wanted(workloads):
                _say(f"preparing {dtype}: {workload.name}")
                contests.append(_Contest(self._workers, at(workload, dtype), keys, seconds * self._scale))
        for turn in range(self._rounds):
            _say(f"measuring {dtype}: round {turn + 1} of {self._rounds}")
            for contest in contests:
                contest.run(turn)
        results = {contest.workload.name: contest.measured() for contest in contests}
        if self._only in FIRST_STEP:
            results[FIRST_STEP] = self._first_steps(dtype)
        if dtype == "float32":  # the whole process has one
            results |= {name: self._processes(name) for name in (WARM, COLD) if self._only in name}
        return results

    def _wanted(self, workloads: Iterable[Workload]) -> list[Workload]:
        return [workload for workload in workloads if self._only in workload.name]

    def _first_steps(self, dtype: str) -> dict[str, Any]:
        """Time the first step of architectures that no process has met, each process warm by another one."""
        _say(f"measuring {dtype}: {FIRST_STEP}")
        seconds: dict[str, dict[str, list[float]]] = {}
        for peer in self._peers:
            worker = self._workers[peer, 1]
            worker.first_step(at(new_architecture(0), dtype))
            numbers = range(1, 1 + max(5, self._rounds))
            seconds[peer] = {"1": [worker.first_step(at(new_architecture(number), dtype)) for number in numbers]}
        return {"flop": 0, "limit": 0, "seconds": seconds}

    def _processes(self, name: str) -> dict[str, Any]:
        """Time whole processes: ours with a full or an empty cache, and for the full one ``import torch`` beside it."""
        _say(f"measuring {name}")
        ours, torch = [], []
        script, import_torch = [str(WHOLE_PROCESS)], ["-c", "import torch"]
        if name == WARM:
            _process(script)
            _process(import_torch)
        for _ in range(self._rounds if name == WARM else min(self._rounds, COLD_ROUNDS)):
            if name == WARM:
                ours.append(_process(script)[0])
                torch.append(_process(import_torch)[0])
            else:
                with tempfile.TemporaryDirectory() as folder:
                    took, told = _process(script, FASTBP_CACHE_DIR=folder)
                assert "compiling" in told, f"the user is told about the compilation, got {told!r}"
                ours.append(took)
        seconds = {"fastbp": {"default": ours}} | ({"torch": {"default": torch}} if torch else {})
        return {"flop": 0, "limit": 0, "seconds": seconds}


class _Contest:
    """A workload in all peers and threads of ``candidates`` that can run it, and the limit with it."""

    def __init__(self, workers: Workers, workload: Workload, candidates: list[tuple[str, int]], seconds: float) -> None:
        self.workload, self._seconds = workload, seconds
        self._keys, expected = [], None
        for key in candidates:
            sample = workers[key].prepare(workload)
            if sample is False:
                continue
            self._keys.append(key)
            if sample is not None and isinstance(workload, Training):
                expected = sample if expected is None else expected
                _require_same_training(workload, key[0], sample, expected)
        tile, core = at(TILE, workload.dtype), workers["fastbp", 1]
        core.prepare(tile)
        self._flop = core.flop(tile)
        self._contestants = [*((workers[key], workload) for key in self._keys), (core, tile)]
        self._rounds: list[list[float]] = []

    def run(self, turn: int) -> None:
        self._rounds.append(one_round(self._contestants, turn, self._seconds))

    def measured(self) -> dict[str, Any]:
        """Return the seconds of a step by peer and threads, a value a round, and what the limit follows from."""
        *times, tile_times = map(list, zip(*self._rounds))
        seconds: dict[str, dict[str, list[float]]] = {}
        for (peer, count), values in zip(self._keys, times):
            seconds.setdefault(peer, {})[str(count)] = values
        return {"flop": self.workload.flop, "limit": self._flop / float(np.median(tile_times)), "seconds": seconds}


def _process(arguments: list[str], **environment: str) -> tuple[float, str]:
    """Return the seconds of a Python process from start to end, and what it wrote to standard error."""
    start = perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], env=os.environ | environment, check=True, capture_output=True, text=True
    )
    return perf_counter() - start, done.stderr


def _require_same_training(workload: Training, peer: str, sample: Any, expected: Any) -> None:
    initial = sampled([array for layer in workload.layers() for array in layer])
    difference, learned = np.abs(sample - expected).max(), np.abs(expected - initial).max()
    if not difference <= AGREEMENT[workload.dtype] * learned:
        raise AssertionError(
            f"{workload.name}: after an epoch {peer} is {difference:.2g} off, {learned:.2g} were learned"
        )


def _say(what: str) -> None:
    print(f"{strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

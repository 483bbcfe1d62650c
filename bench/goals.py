"""What ``make speed`` must show, and how a goal is judged by what was measured.

Measurements of a workload are a dict: "seconds" of a step by peer and by threads (a median is taken), "flop" of a step,
and "limit" in flop a second, of one core, from the tile in the same rounds. The goals of ``bench.many`` and of
``bench.estimators`` stand at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any, TypeAlias

from bench.contenders import OURS, PEERS
from bench.recipes import RECIPES
from bench.workloads import LINEARS, ORIGINAL, PREDICT, SWEEP, SWEEP_WIDTHS, TANH, TRAININGS

Measured = Mapping[str, Any]
Results = Mapping[str, Measured]

FIRST_STEP = "first step of a new architecture, engine loaded"
WARM, COLD = "whole process, cache warm", "whole process, cache empty"
ALL_PEERS = tuple(peer for peer in PEERS if peer not in OURS)
TORCH = ("torch", "torch.func")


def seconds(measured: Measured, peer: str, threads: int | None = None) -> float:
    """Return the median seconds of ``peer``, of its best number of threads if None; infinity if it was not measured."""
    times = measured["seconds"].get(peer, {})
    chosen = [times[count] for count in times if threads is None or count == str(threads)]
    return min(map(median, chosen), default=float("inf"))


def best_peer(measured: Measured, peers: tuple[str, ...] = ALL_PEERS, threads: int | None = None) -> str:
    """Return the fastest of ``peers``."""
    return min(peers, key=lambda peer: seconds(measured, peer, threads))


def share(measured: Measured) -> float:
    """Return the share of one core's arithmetic limit that fastbp reaches on one thread; 0 where it has no meaning."""
    return measured["flop"] / seconds(measured, "fastbp", 1) / measured["limit"] if measured["flop"] else 0.0


@dataclass(frozen=True)
class Verdict:
    against: str
    value: str
    target: str
    holds: bool
    at_the_limit: str = ""  # what the value would be if fastbp ran at the arithmetic limit of its cores


@dataclass(frozen=True)
class Faster:
    """``ours`` takes at most 1 / ``factor`` of the time of the fastest of ``peers``."""

    workload: str
    factor: float
    peers: tuple[str, ...] = ALL_PEERS
    threads: int | None = 1  # None: each at its best
    ours: str = "fastbp"

    def judge(self, results: Results) -> Verdict:
        measured = results[self.workload]
        peer = best_peer(measured, self.peers, self.threads)
        ratio = seconds(measured, peer, self.threads) / seconds(measured, self.ours, self.threads)
        threads = "each its best threads" if self.threads is None else "1 thread"
        label = PEERS[peer].label + (" (the fastest)" if len(self.peers) > 1 else "")
        most = ""
        if measured["flop"]:
            cores = self.threads or max(map(int, measured["seconds"][self.ours]))
            most = f"{seconds(measured, peer, self.threads) * measured['limit'] * cores / measured['flop']:.2f} ×"
        return Verdict(f"{label}, {threads}", f"{ratio:.2f} ×", f"{self.factor:g} ×", ratio >= self.factor, most)

    def in_float64(self) -> Goal:
        """Half the factors above 2, ahead elsewhere, against PyTorch in float64."""
        peers = tuple(peer for peer in self.peers if peer in TORCH) or TORCH
        return replace(self, factor=self.factor / 2 if self.factor > 2 else 1.0, peers=peers)


@dataclass(frozen=True)
class NearLimit:
    """fastbp on one thread reaches ``least`` of the arithmetic limit."""

    workload: str
    least: float

    def judge(self, results: Results) -> Verdict:
        reached = share(results[self.workload])
        return Verdict("the limit, 1 thread", f"{reached:.2f}", f"{self.least:g}", reached >= self.least)

    def in_float64(self) -> Goal:
        return Faster(self.workload, 1.0, peers=("torch",))


@dataclass(frozen=True)
class NoCliff:
    """Time for each multiplication never rises by more than ``most`` from one of ``workloads`` to the next."""

    workload: str
    workloads: tuple[str, ...]
    most: float

    def judge(self, results: Results) -> Verdict:
        steepest, where = max(self._rises(results))
        return Verdict(
            f"itself, steepest at {where}", f"{steepest:.2f} ×", f"<= {self.most:g} ×", steepest <= self.most
        )

    def _rises(self, results: Results) -> Iterator[tuple[float, str]]:
        for before, behind in pairwise(self.workloads):
            for threads in results[before]["seconds"]["fastbp"]:
                costs = [seconds(results[w], "fastbp", int(threads)) / results[w]["flop"] for w in (before, behind)]
                yield costs[1] / costs[0], f"{behind.split(' ')[0]}, {threads} thread{'s' * (threads != '1')}"

    def in_float64(self) -> Goal:
        return self


@dataclass(frozen=True)
class Within:
    """The slowest of all took no longer than ``limit`` seconds."""

    workload: str
    limit: float

    def judge(self, results: Results) -> Verdict:
        slowest = max(max(times) for times in results[self.workload]["seconds"]["fastbp"].values())
        return Verdict("the slowest of all", f"{slowest:.3g} s", f"< {self.limit:g} s", slowest < self.limit)

    def in_float64(self) -> Goal:
        return self


Goal = Faster | NearLimit | NoCliff | Within

_original, _disk, _small, _mnist, _deep, _large, _tanh, *_ = (workload.name for workload in TRAININGS)
assert _original == ORIGINAL.name
SWEPT = tuple(workload.name for workload in SWEEP)
SWEEP_NAME = "10-w-w-10 ReLU, batch 128"

GOALS: tuple[Goal, ...] = (
    Faster(_original, 50, ("torch",), threads=None),
    Faster(_disk, 3, ("jax",)),
    Faster(_disk, 10, ("torch",), ours="modules"),
    Faster(_small, 1.5),
    Faster(_mnist, 1.1),
    Faster(_mnist, 1.8, threads=None),
    Faster(_deep, 1.1),
    Faster(_deep, 1.8, threads=None),
    Faster(_large, 1.1, threads=None),
    Faster(_tanh, 8, ("torch",), threads=None),
    Faster(_tanh, 2.5, ("jax",), threads=None),
    *(Faster(recipe.name, factor, TORCH) for recipe, factor in zip(RECIPES, (50, 40, 4, 12, 15))),
    *(Faster(recipe.name, factor, ("jax",)) for recipe, factor in zip(RECIPES, (3, 2.5, 1.6, 2, 2))),
    NoCliff(SWEEP_NAME, SWEPT, 1.5),
    *(NearLimit(name, 0.7 if w == 64 else 0.8) for name, w in zip(SWEPT, SWEEP_WIDTHS) if w == 64 or w >= 128),
    *(NearLimit(workload.name, least) for workload, least in zip(LINEARS, (0.6, 0.85, 0.9, 0.9, 0.9))),
    Faster(TANH.name, 4, ("torch",)),
    Faster(PREDICT.name, 10, ("torch",)),
    Within(FIRST_STEP, 0.02),
    Faster(WARM, 1, ("torch",), threads=None),
    Within(COLD, 20),
)


def goals(dtype: str, results: Results) -> list[Goal]:
    """Return the goals for ``dtype`` that ``results`` can judge."""
    wanted = [goal if dtype == "float32" else goal.in_float64() for goal in GOALS]
    return [goal for goal in wanted if _measured(goal, results)]


def _measured(goal: Goal, results: Results) -> bool:
    names = goal.workloads if isinstance(goal, NoCliff) else (goal.workload,)
    if not all(name in results for name in names):
        return False
    return not isinstance(goal, Faster) or any(peer in results[goal.workload]["seconds"] for peer in goal.peers)


ManyTimes: TypeAlias = Mapping[str, Mapping[str, list[float]]]


@dataclass(frozen=True)
class ManyFaster:
    """``ours`` takes at most 1 / ``factor`` of the time of the fastest of ``others``: each the best of its rounds."""

    row: str
    others: tuple[str, ...]
    factor: float
    ours: str = "fastbp"

    def judge(self, times: ManyTimes) -> Verdict:
        """``times`` are the row's: seconds of each round by contender and by threads."""
        other, seconds = self.fastest_other(times)
        ratio = seconds / _best(times[self.ours])
        return Verdict(other, f"{ratio:.2f} ×", f"{self.factor:.3g} ×", ratio >= self.factor)

    def fastest_other(self, times: ManyTimes) -> tuple[str, float]:
        """Return its name and seconds."""
        return min(((name, _best(times[name])) for name in self.others if name in times), key=lambda other: other[1])


def _best(by_threads: Mapping[str, list[float]]) -> float:
    return min(map(min, by_threads.values()))


COPIES = {count: f"{count:,} copies of 2-25-25-25-2, batch 50, a step of one" for count in (32, 256, 4096)}
SHAPES, ONE_JOB = "64 jobs of 16 shapes", "one job, 2-25-25-25-2"
FOLDS = "5 folds of 24 settings on digits"
MANY: tuple[ManyFaster, ...] = (
    *(ManyFaster(row, ("PyTorch vmap", "PyTorch vmap, traced"), 20) for row in COPIES.values()),
    *(ManyFaster(row, ("JAX vmap in scan",), 8) for row in COPIES.values()),
    ManyFaster(SHAPES, ("one thread",), 1.9, ours="two threads"),
    ManyFaster(FOLDS, ("GridSearchCV in processes", "GridSearchCV in threads", "GridSearchCV alone"), 1.5),
    ManyFaster(ONE_JOB, ("train_model",), 1 / 1.03),
)

# Of ``bench.estimators``: all fits in the geometric mean, each of them, a prediction, and a search.
ESTIMATORS = {"fits": 10.0, "each fit": 3.0, "predictions": 20.0, "search": 8.0}

"""What the asv benchmarks share: a library set up for a workload, a piece of work to time, and fastbp / PyTorch.

asv calls ``setup`` before every sample, so what it sets up is kept. It times one call for a sample: a call is a piece
of work of ``SECONDS``, and a clock that counts steps gives the seconds of one. Whatever is compiled, is compiled in
``setup``.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from functools import cache
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from bench.contenders import PEERS
from bench.workers import Runs, bind
from bench.workloads import Workload

SECONDS = 0.03
TURNS = 7

NAMES = {peer.label: name for name, peer in PEERS.items()}  # of the labels that the pages show
OURS, TORCH = PEERS["fastbp"].label, PEERS["torch"].label


@cache
def prepared(library: str, workload: Workload, threads: int) -> Runs:
    """Return ``library`` ready to run ``workload``; raise NotImplementedError, at which asv skips, if it cannot."""
    name = NAMES[library]
    require_package(PEERS[name].package)
    bind(threads)
    runs = Runs(name, threads)
    if runs.prepare(workload) is False:
        raise NotImplementedError(f"{library} does not run {workload.name}")
    return runs


class Timed:
    """Attributes and set-up of the ``time_`` benchmarks."""

    repeat = (5, 15, 0.6)  # samples at least and at most, and the seconds after which no more are begun
    rounds = 1
    warmup_time = 0  # ``prepared`` has warmed up
    timeout = 300

    def prepare(self, library: str, workload: Workload, threads: int = 1) -> None:
        """To be called by ``setup``."""
        self.piece, steps = prepared(library, workload, threads).piece(workload, SECONDS)
        self.timer = lambda: perf_counter() / steps


class Contest(ABC):
    """What has a workload as its first parameter; abstract, and so passed over by asv, which runs the subclasses."""

    @property
    @abstractmethod
    def workloads(self) -> dict[str, Any]:
        """The workloads by the names that the pages show."""


class Libraries(Timed, Contest):
    """The time of each library."""

    def setup(self, workload: str, library: str) -> None:
        self.prepare(library, self.workloads[workload])

    def time_step(self, workload: str, library: str) -> None:
        self.piece()


class OverTorch(Contest):
    """The time of fastbp over that of PyTorch: the figure that means something on another machine."""

    unit = "fastbp / PyTorch"
    timeout = 300

    def setup(self, workload: str) -> None:
        for library in (OURS, TORCH):
            prepared(library, self.workloads[workload], 1)

    def track_step(self, workload: str) -> float:
        """Return the smallest time of several, over PyTorch's, measured in turn."""
        task = self.workloads[workload]
        libraries = [prepared(library, task, 1) for library in (OURS, TORCH)]
        times = [[runs.measure(task, SECONDS) for runs in libraries] for _ in range(TURNS)]
        ours, torch = map(min, zip(*times))
        return ours / torch


def require_package(package: str) -> None:
    """Raise NotImplementedError, at which asv skips, where ``package`` is not installed."""
    if find_spec(package) is None:
        raise NotImplementedError(f"{package} is not installed")


def require_cores(threads: int) -> None:
    """Raise NotImplementedError, at which asv skips, on a machine with fewer cores than ``threads``."""
    if threads > (os.cpu_count() or 1):
        raise NotImplementedError(f"this machine has fewer than {threads} cores")


def by_name(workloads: tuple[Any, ...]) -> dict[str, Any]:
    return {workload.name: workload for workload in workloads}

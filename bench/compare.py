"""Two codes beside each other: ``python -m bench.compare BASE [HEAD]`` (``make compare``).

Both are exported from git and run in processes of their own, on one core, in turn: what else goes on in the machine
meets both alike. A time is the smallest of many short ones, a ratio that of HEAD over BASE. Where the arrays and the
code happen to lie makes some per cent, for the code as long as its process lives. So arrays are made several times,
there are several pairs of processes, and a change is one that every pair shows.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.workers import Worker, in_turn
from bench.workloads import KERNELS, ONLINE, PREDICTIONS, TRAININGS, Workload

ROOT = Path(__file__).parents[1]
THRESHOLD = 0.03  # by bench.noise: in 130 comparisons five pairs of equal code agreed on 1.3 % at most
PAIRS, PLACES, ROUNDS, SECONDS = 5, 3, 7, 0.008
LIBRARY = ("fastbp", "kernels")  # what is exported: the benchmarks are those of the working tree
COMPARED: tuple[Workload, ...] = (*TRAININGS, ONLINE, *KERNELS, *PREDICTIONS)


@dataclass(frozen=True)
class Change:
    """What was measured for a workload: seconds of a step with BASE and with HEAD, a value for each pair."""

    workload: str
    base: list[float]
    head: list[float]

    @property
    def ratios(self) -> list[float]:
        return [head / base for base, head in zip(self.base, self.head)]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def verdict(self) -> str:
        return judge(self.ratios)


def judge(ratios: Sequence[float]) -> str:
    """Return "slower", "faster" or nothing."""
    if min(ratios) > 1 + THRESHOLD:
        return "slower"
    return "faster" if max(ratios) < 1 / (1 + THRESHOLD) else ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__.partition("\n")[0])
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("head", nargs="?", help="the commit to compare (default: the working tree)")
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="only workloads with a NAME in theirs")
    args = parser.parse_args()
    wanted = [workload for workload in COMPARED if any(name in workload.name for name in args.only)]
    with exported(args.base) as base, exported(args.head) as head:
        changes = compare(base, head, wanted)
    print(format_changes(changes))
    sys.exit(any(change.verdict == "slower" for change in changes))


def compare(base: Path, head: Path, workloads: Sequence[Workload], pairs: int = PAIRS) -> list[Change]:
    """Measure the codes in two folders of ``exported`` in turn."""
    times = [_measure_pair(base, head, workloads) for _ in range(pairs)]
    return [
        Change(workload.name, *map(list, zip(*(pair[place] for pair in times))))
        for place, workload in enumerate(workloads)
    ]


def _measure_pair(base: Path, head: Path, workloads: Sequence[Workload]) -> list[tuple[float, float]]:
    """Return for each workload the seconds of both codes, from a new process for each."""
    results = []
    with ExitStack() as stack:
        workers = [Worker("fastbp", 1, source) for source in (base, head)]
        for worker, source in zip(workers, (base, head)):
            stack.callback(worker.stop)
            assert worker.source() == source, f"measuring {worker.source()} instead of {source}"
        for workload in workloads:
            times: list[list[float]] = [[], []]
            for _ in range(PLACES):
                for worker in workers:
                    worker.prepare(workload)
                for found, more in zip(times, in_turn([(worker, workload) for worker in workers], ROUNDS, SECONDS)):
                    found += more
            results.append((min(times[0]), min(times[1])))
    return results


@contextmanager
def exported(commit: str | None) -> Iterator[Path]:
    """Yield a folder with the library of ``commit``, of the working tree if None."""
    if commit is None:
        yield ROOT
        return
    with TemporaryDirectory(prefix="fastbp-") as folder:
        archive = subprocess.run(["git", "archive", commit, *LIBRARY], cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        yield Path(folder).resolve()


def format_changes(changes: Sequence[Change]) -> str:
    """Return a line for each workload: times, the ratio of each pair, the verdict."""
    width = max(len(change.workload) for change in changes)
    lines = [f"{'µs a step':{width}}       base       head   ratio   of each pair"]
    for change in changes:
        base, head = (f"{median(times) * 1e6:10.4g}" for times in (change.base, change.head))
        pairs = " ".join(f"{ratio:.3f}" for ratio in change.ratios)
        lines.append(
            f"{change.workload:{width}} {base} {head}   {change.ratio:.3f}   {pairs}   {change.verdict}".rstrip()
        )
    found = [change.verdict for change in changes if change.verdict]
    lines.append(
        f"{found.count('slower')} slower, {found.count('faster')} faster, {len(changes) - len(found)} the same "
        f"(by at most {THRESHOLD:.0%} in one pair)."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

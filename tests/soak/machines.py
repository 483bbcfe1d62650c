"""The whole test suite as other machines run it: other CPUs, other Pythons, the oldest numba and NumPy.

    python tests/soak/machines.py                                    every CPU and every Python that is found
    python tests/soak/machines.py --cpus avx2 --pythons              one CPU, no further Python
    python tests/soak/machines.py --cpus --pythons python3.12 --tests tests/test_engine.py

A CPU is this one with fewer features (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES). A Python gets a new environment with the
newest packages, Python 3.10 a second one with the oldest supported numba and NumPy. Each run has a cache of its own.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from report import ROOT, Report, child_environment

CPUS = {
    "avx2": ("haswell", "+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+sse4.2,+popcnt"),
    "avx2-without-fma": ("haswell", "+avx,+avx2,-fma,+bmi,+bmi2,+f16c,+sse4.2,+popcnt"),
    "sse2": ("x86-64", "+sse2"),
}
PYTHONS = tuple(f"python3.{minor}" for minor in range(10, 15))
OLDEST = ("numba==0.61.*", "numpy==1.26.*")


def run_tests(python, tests, **variables):
    """What pytest counted, such as {"passed": 1843}; the lines of the failures are printed."""
    with tempfile.TemporaryDirectory() as cache:
        child = subprocess.run(
            [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], cwd=ROOT, text=True, capture_output=True,
            env=child_environment(FASTBP_CACHE_DIR=cache, **variables), stdin=subprocess.DEVNULL,
        )  # fmt: skip
    last = child.stdout.strip().splitlines()[-1:] or [f"exit status {child.returncode}: {child.stderr[-500:]}"]
    for line in child.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            print("   ", line, file=sys.stderr)
    counts = {name: int(number) for number, name in re.findall(r"(\d+) (passed|failed|error)", last[0])}
    return counts or {"ended": last[0]}


def environment(python, folder, *constraints):
    """A new environment of ``python`` with what the tests need, and its Python."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    inside = str(folder / "bin" / "python")
    subprocess.run([inside, "-m", "pip", "install", "-q", "-e", ".[test]", *constraints], check=True, cwd=ROOT)
    return inside


def found(names):
    """Those of the Pythons that start."""
    return [path for path in map(shutil.which, names) if path and subprocess.run([path, "-c", ""]).returncode == 0]


def version(python):
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", program], check=True, text=True, capture_output=True).stdout.strip()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--cpus", nargs="*", choices=CPUS, default=list(CPUS))
    arguments.add_argument("--pythons", nargs="*", default=list(PYTHONS), help="names or paths")
    arguments.add_argument("--tests", nargs="*", default=[], help="what pytest runs instead of everything")
    arguments.add_argument("--no-oldest", action="store_true", help="leave out the oldest numba and NumPy")
    chosen = arguments.parse_args()
    runs = {}
    with Report() as counts:
        for name in chosen.cpus:
            cpu, features = CPUS[name]
            variables = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features}
            runs[name] = run_tests(sys.executable, chosen.tests, **variables)
            print(name, runs[name], file=sys.stderr, flush=True)
        for python in found(chosen.pythons):
            with tempfile.TemporaryDirectory() as folder:
                number = version(python)
                kinds = {f"Python {number}": ()}
                if number == "3.10" and not chosen.no_oldest:
                    kinds["Python 3.10, numba 0.61, NumPy 1.26"] = OLDEST
                for place, (name, constraints) in enumerate(kinds.items()):
                    inside = environment(python, Path(folder) / str(place), *constraints)
                    runs[name] = run_tests(inside, chosen.tests)
                    print(name, runs[name], file=sys.stderr, flush=True)
        counts["runs"] = runs
    sys.exit(any(set(run) != {"passed"} for run in runs.values()))


if __name__ == "__main__":
    main()

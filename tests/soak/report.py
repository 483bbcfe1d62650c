"""What the scripts of the soak share: a count from the command line, children with a time limit, a line of counts."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from time import perf_counter

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
PACKAGES = (ROOT, ROOT / "kernels", TESTS, TESTS / "soak")


def parser(description: str, count: int) -> argparse.ArgumentParser:
    """A parser that knows ``--count``."""
    arguments = argparse.ArgumentParser(description=description.partition("\n")[0])
    arguments.add_argument("--count", type=int, default=count, help=f"how often, {count:,} by default")
    return arguments


def child_environment(**variables: str | None) -> dict[str, str]:
    """This process's environment with ``variables`` set, or unset where they are None."""
    path = os.pathsep.join(map(str, PACKAGES))
    environment = {**os.environ, "PYTHONPATH": path, **variables}
    return {name: value for name, value in environment.items() if value is not None}


def run_python(*arguments: str, seconds: float = 600, python: str = sys.executable, **variables: str | None) -> str:
    """Run Python in a child and return what it printed. A crash, a failure and a hang raise."""
    child = subprocess.run(
        [python, *arguments], cwd=ROOT, env=child_environment(**variables), timeout=seconds,
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if child.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)[:200]} ended with {child.returncode}\n{child.stdout}{child.stderr}")
    return child.stdout


def run_tests(files: tuple[str, ...], seconds: float, **variables: str) -> int:
    """Run pytest in a child and return how many tests passed; a failure raises."""
    output = run_python("-m", "pytest", "-q", *files, seconds=seconds, **variables)
    (passed,) = re.findall(r"(\d+) passed", output)
    return int(passed)


def last_line(output: str) -> dict[str, object]:
    """The counts that a script printed last."""
    counts: dict[str, object] = json.loads(output.strip().splitlines()[-1])
    return counts


class Report:
    """Prints one line of JSON when the block ends without an error."""

    def __init__(self) -> None:
        self.counts: dict[str, object] = {}
        self._start = perf_counter()

    def __enter__(self) -> dict[str, object]:
        return self.counts

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            print(json.dumps({**self.counts, "seconds": round(perf_counter() - self._start, 1)}), flush=True)

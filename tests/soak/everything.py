"""Every script of the soak with its count, the results as JSON, and the table of docs/reliability.md made of them.

python tests/soak/everything.py                  what `make soak` runs
python tests/soak/everything.py --only fuzz kills
python tests/soak/everything.py --only           no script: draw the table anew from the results that are there
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

from report import ROOT, child_environment, last_line

HERE = Path(__file__).parent
RESULTS, TABLE = HERE / "results.json", ROOT / "docs" / "reliability.md"

# Script, its arguments, and what it shows.
PROMISES = {
    "fuzz": (["--count", "300000"], "Bad input never reaches a kernel: no crash, no hang, no wrong result, our errors"),
    "ways": (
        ["--count", "2000"],
        "Drawn trainings, stopped and gone on with in every way, by the engine, modules or hand: the same bits",
    ),
    "interrupts": (
        ["--count", "10000", "--stride", "31"],
        "An exception at any instruction of a call, in any thread, leaves no lock and loses no parameter",
    ),
    "bounds": ([], "No kernel indexes outside an array: the kernels' tests under `NUMBA_BOUNDSCHECK=1`"),
    "kills": (["--kills", "1000"], "A killed process loses nothing but the checkpoint under way"),
    "sweep_kills": (
        ["--count", "600"],
        "A sweep's process that is killed at any moment, and begun again, ends with the same table and best model",
    ),
    "worker_kills": (
        ["--count", "20"],
        "Workers of dask, loky and Ray that are killed while they sweep change no bit of what comes back",
    ),
    "many_interrupts": (
        ["--count", "1500"],
        "Ctrl-C in many trainings at once: the call goes on, and every model ends with the same bits",
    ),
    "pools": (["--count", "20"], "Threads, fork, spawn, loky, executors and other libraries: the same bits as alone"),
    "starts": (["--count", "30"], "Processes that start at once on an empty cache all work"),
    "growth": (["--count", "1000000"], "Steps and models leave no memory behind; a training takes what is documented"),
    "load": (["--count", "2000"], "Trainings under load end with the same bits as without"),
    "whole": ([], "Whole trainings follow PyTorch step by step, and so does every kernel for drawn arrays"),
    "machines": ([], "The whole test suite with fewer CPU features, other Pythons, the oldest numba and NumPy"),
}
# What `make test` holds on every run, and where.
TESTS = (
    ("Bad input raises, says the rule, and changes nothing", "test_errors, test_training_errors, test_hard_to_break"),
    (
        "No kernel reads or writes beside an array (guards, forbidden pages)",
        "test_linear_kernels, test_vector_kernels, test_chain_memory",
    ),
    ("The cache: full, read-only, damaged, another user's, another CPU's", "test_cache, test_cache_elsewhere"),
    ("Threads change no bit of a result", "test_threads, test_divisions, test_chain"),
    ("A sweep goes on when its process or a worker is killed", "test_sweep, test_sweep_command"),
    ("A short version of the scripts below but `kills`, `worker_kills`, `machines` and `whole`", "test_soak"),
)


def run(name):
    """Run a script and return the counts of its last line, with its exit status where that is not 0."""
    print(f"== {name}", file=sys.stderr, flush=True)
    command = [sys.executable, str(HERE / f"{name}.py"), *PROMISES[name][0]]
    child = subprocess.run(command, cwd=ROOT, env=child_environment(), stdout=subprocess.PIPE, text=True)
    try:
        counts = last_line(child.stdout)
    except (IndexError, ValueError):  # a sentence, or nothing
        counts = {"result": " ".join(child.stdout.strip().splitlines()[-1:])}
    if child.returncode:
        counts["failed"] = child.returncode
    return {"counts": counts, "date": str(date.today()), "versions": versions()}


def versions():
    names = {"numba": "numba", "NumPy": "numpy", "llvmlite": "llvmlite"}
    packages = [f"{title} {version(name)}" for title, name in names.items()]
    return ", ".join([f"Python {platform.python_version()}", *packages])


def shown(counts):
    """Counts as a reader wants them: ``fuzz``'s as "100,021 calls, 43,210 errors"."""
    if "runs" in counts:
        return "; ".join(f"{name}: {shown(run)}" for name, run in counts["runs"].items())
    parts = []
    for name, value in counts.items():
        words = name.replace("_", " ")
        number = f"{value:,}" if isinstance(value, int) else str(value)
        parts.append(f"{number} {words}" if isinstance(value, int | float) else number)
    return ", ".join(parts)


def table(results):
    lines = [
        "# Reliability",
        "",
        "What fastbp promises beside right numbers, and how often that was tried. The first table is held by every",
        "`make test`, the second by `make soak`, which writes this page.",
        "",
        "| promise | tests |",
        "|---|---|",
        *(f"| {promise} | `{names.replace(', ', '`, `')}` |" for promise, names in TESTS),
        "",
        "| promise | script in `tests/soak/` | reached | when and with what |",
        "|---|---|---|---|",
    ]
    for name, (_, promise) in PROMISES.items():
        result = results.get(name)
        reached = shown(result["counts"]) if result else "not run yet"
        lines.append(f"| {promise} | `{name}` | {reached} | {', '.join(when(result))} |")
    lines += [
        "",
        "An error is one of fastbp's own when a line of fastbp raises it with its own sentence; only a `MemoryError`",
        "may come from NumPy. Memory that `numpy.ndarray.resize(..., refcheck=False)` or a foreign pointer takes away",
        "during a call is beyond these promises, as it is beyond NumPy's own.",
    ]
    return "\n".join(lines) + "\n"


def when(result):
    return [result["date"], result["versions"]] if result else []


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--only", nargs="*", choices=PROMISES, default=list(PROMISES))
    chosen = arguments.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in chosen.only:
        results[name] = run(name)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table(results))
    failed = [name for name in chosen.only if "failed" in results[name]["counts"]]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()

"""What ``bench.compare`` sees and what it does not: ``python -m bench.noise``.

Compares a commit with itself, ten times, which must find nothing; then with itself made slower by ``EXTRA`` in one
kernel, which must be found in that kernel. Writes the ratios to ``bench/results/noise.json``: the threshold of
``bench.compare`` is to be above those of equal code and below those of the slower.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import strftime

from bench import machine
from bench.compare import COMPARED, THRESHOLD, Change, compare, exported, format_changes
from bench.tables import save_table

NAME = "noise"
EXTRA = 15  # per cent

# A kernel, its file, the line that does the work, and what does EXTRA per cent of it again, to the same result.
PLANTS = {
    "tanh": (
        "functions/activations.py",
        "    tanh_loop(output.size, pointer(input), pointer(output))\n",
        f"    tanh_loop(output.size * {EXTRA} // 100, pointer(input), pointer(output))\n",
    ),
    "linear_forward": (
        "linalg/linear.py",
        "    linear_forward_share(0, 1, input, weight, bias, output)\n",
        f"    linear_forward_share(0, 1, input[: input.shape[0] * {EXTRA} // 100], weight, bias,\n"
        f"                         output[: input.shape[0] * {EXTRA} // 100])\n",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.noise", description=__doc__.partition("\n")[0])
    parser.add_argument("commit", nargs="?", default="HEAD", help="the code (default: HEAD)")
    parser.add_argument("--times", type=int, default=10, help="comparisons of equal code (default: 10)")
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="only workloads with a NAME in theirs")
    args = parser.parse_args()
    workloads = [workload for workload in COMPARED if any(name in workload.name for name in args.only)]

    with exported(args.commit) as base, exported(args.commit) as head:
        equal = []
        for turn in range(args.times):
            print(f"{strftime('%H:%M:%S')} equal code, {turn + 1} of {args.times}", flush=True)
            equal.append(compare(base, head, workloads))
            print(format_changes(equal[-1]), flush=True)
    slower = {}
    for kernel in PLANTS:
        hit = [workload for workload in workloads if workload.name.startswith(kernel)]
        if not hit:
            continue
        with exported(args.commit) as base, exported(args.commit) as head:
            plant(head, kernel)
            print(f"{strftime('%H:%M:%S')} {kernel} with {EXTRA} % more work", flush=True)
            slower[kernel] = compare(base, head, hit)
            print(format_changes(slower[kernel]), flush=True)

    alarms = sum(any(change.verdict for change in changes) for changes in equal)
    missed = [change.workload for changes in slower.values() for change in changes if change.verdict != "slower"]
    print(
        f"Threshold {THRESHOLD:.0%}: equal code raised {alarms} alarms in {len(equal)} comparisons of {len(workloads)}."
    )
    print(f"Planted slowdowns that were missed: {', '.join(missed) or 'none'}.")
    save_table(
        {
            "date": strftime("%Y-%m-%d"),
            "machine": machine.describe(),
            "equal": [_ratios(changes) for changes in equal],
            "slower": {kernel: _ratios(changes) for kernel, changes in slower.items()},
        },
        NAME,
    )


def plant(folder: Path, kernel: str) -> None:
    """Make ``kernel`` slower in an exported library."""
    name, line, again = PLANTS[kernel]
    file = folder / "kernels" / "fastbp_kernels" / name
    source = file.read_text(encoding="utf-8")
    if source.count(line) != 1:
        raise ValueError(f"{name} has no line {line!r}, or several")
    file.write_text(source.replace(line, line + again), encoding="utf-8")


def _ratios(changes: list[Change]) -> dict[str, list[float]]:
    return {change.workload: [round(ratio, 4) for ratio in change.ratios] for change in changes}


if __name__ == "__main__":
    main()

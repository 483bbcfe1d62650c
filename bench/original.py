"""The experiment of the original report, with fastbp in the place of its framework: ``python -m bench.original``.

Both libraries train the same network on the same data in every run, each from its own default initialisation. Writes a
figure of the validation loss, one of the validation accuracy, and the table, to ``bench/results``.
"""

from __future__ import annotations

import argparse

import numpy as np

from bench import machine
from bench.disk_task import LIBRARIES, Run, repeat, warm_up
from bench.figures import save_figure
from bench.tables import save_table
from fastbp.plots import plot_runs

# Mean and standard deviation over ten runs in the report of 2019, on its authors' machine.
REPORTED = {
    "its framework, 2019": {"test_accuracy": (0.9699, 0.0093), "seconds": (13.16, 0.75)},
    "PyTorch, 2019": {"test_accuracy": (0.9717, 0.0072), "seconds": (12.87, 0.92)},
}

Row = dict[str, tuple[float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.original", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10, help="trainings of each library (default: 10)")
    parser.add_argument("--epochs", type=int, default=1000, help="epochs of each training (default: 1000)")
    args = parser.parse_args()

    print("The original experiment: the disk, a network 2-25-25-25-2, mini-batches of 50, SGD at lr 0.001;")
    print(f"{args.runs} runs of {args.epochs} epochs, PyTorch on one thread.")
    results: dict[str, list[Run]] = {}
    for name, library in LIBRARIES.items():
        print(f"{name}: {warm_up(library):.1f} s of warm-up, compiling included, before its clock starts")
        results[name] = repeat(library, name, args.runs, args.epochs)

    rows = {name: _row(runs) for name, runs in results.items()}
    print()
    print(format_table(REPORTED | rows))
    ratio = rows["PyTorch"]["seconds"][0] / rows["fastbp"]["seconds"][0]
    print(f"\nPyTorch takes {ratio:.1f} times the time of fastbp.\n")

    labels = {"val_loss": "validation loss (sum over 1,000 points)", "val_accuracy": "validation accuracy"}
    for (field, ylabel), name in zip(labels.items(), ("loss", "accuracy"), strict=True):
        series = {library: [getattr(run, field) for run in runs] for library, runs in results.items()}
        save_figure(plot_runs(series, ylabel=ylabel), name)
    settings = {"runs": args.runs, "epochs": args.epochs, "ratio_of_seconds": ratio}
    save_table({**settings, "rows": rows, "reported": REPORTED, "machine": machine.describe()}, "original")


def format_table(rows: dict[str, Row]) -> str:
    """Return ``rows`` as a table in Markdown, aligned for the eye."""
    lines = [f"| {'':20} | test accuracy   | training time    |", f"|{'-' * 22}|{'-' * 17}|{'-' * 18}|"]
    for name, row in rows.items():
        (accuracy, accuracy_std), (seconds, seconds_std) = row["test_accuracy"], row["seconds"]
        time = f"{seconds:.2f} s ± {seconds_std:.2f}"
        lines.append(f"| {name:20} | {accuracy:.4f} ± {accuracy_std:.4f} | {time:16} |")
    return "\n".join(lines)


def _row(runs: list[Run]) -> Row:
    """Mean and sample standard deviation over ``runs``."""
    values = {
        "test_accuracy": [run.test_accuracy for run in runs],
        "seconds": [run.seconds for run in runs],
    }
    ddof = min(1, len(runs) - 1)
    return {name: (float(np.mean(each)), float(np.std(each, ddof=ddof))) for name, each in values.items()}


if __name__ == "__main__":
    main()

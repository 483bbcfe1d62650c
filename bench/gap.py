"""Why PyTorch learned in fewer epochs than the original framework: ``python -m bench.gap``.

The report left this open. Two things differed: how the weights start, and that the framework divided each gradient by
the size of the mini-batch while PyTorch's loss was a sum. This trains all four combinations in fastbp, on the same
data, with PyTorch's own run beside them. Writes a figure of the validation losses, and the epochs that each took, to
``bench/results``.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import numpy.typing as npt

from bench import machine
from bench.disk_task import LR, MINI_BATCH, Run, repeat, train_fastbp, train_torch, warm_up
from bench.figures import save_figure
from bench.tables import save_table
from fastbp.nn import init
from fastbp.plots import plot_runs

GOAL = 0.95  # validation accuracy

ORIGINAL = "original's weights"
_before_relu = init.xavier_normal(gain=init.gain("relu"))
INITS: dict[str, tuple[init.Init, ...]] = {
    ORIGINAL: (_before_relu, _before_relu, _before_relu, init.xavier_normal(gain=init.gain("linear"))),
    "PyTorch's weights": ("default",) * 4,
}
# All mini-batches are full and SGD is linear in the gradient, so a gradient divided by 50 is the same step as lr / 50.
LRS = {"summed": LR, "divided": LR / MINI_BATCH}
PEER = "PyTorch itself"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gap", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10, help="trainings of each combination (default: 10)")
    parser.add_argument("--torch-runs", type=int, help="trainings of PyTorch (default: as many)")
    parser.add_argument("--epochs", type=int, default=1000, help="epochs of each training (default: 1000)")
    args = parser.parse_args()

    print("The open question: why did PyTorch need fewer epochs than the original framework?")
    warm_up(train_fastbp)
    results: dict[str, list[Run]] = {}
    for weights, inits in INITS.items():
        for gradient, lr in LRS.items():
            label = f"{weights}, {gradient}"
            cell = partial(train_fastbp, inits=inits, lr=lr)
            results[label] = repeat(cell, label, args.runs, args.epochs)
    results[PEER] = repeat(train_torch, PEER, args.torch_runs or args.runs, args.epochs)

    reached = {label: first_epochs(runs) for label, runs in results.items()}
    print()
    print(format_epochs(reached))
    print(f"\n{answer(reached)}\n")

    losses = {label: [run.val_loss for run in runs] for label, runs in results.items()}
    save_figure(plot_runs(losses, ylabel="validation loss (sum over 1,000 points)", log=True), "gap")
    # JSON knows no infinity: a run that never reached the goal is null.
    table = {label: [int(e) if np.isfinite(e) else None for e in epochs] for label, epochs in reached.items()}
    settings = {"epochs": args.epochs, "validation_accuracy": GOAL}
    save_table({**settings, "first_epoch": table, "machine": machine.describe()}, "gap")


def first_epochs(runs: list[Run]) -> npt.NDArray[np.float64]:
    """Return for each run the first epoch, counted from 1, with a validation accuracy of ``GOAL``; else infinity."""
    good = np.array([run.val_accuracy for run in runs]) >= GOAL
    return np.where(good.any(axis=1), good.argmax(axis=1) + 1.0, np.inf)


def format_epochs(reached: dict[str, npt.NDArray[np.float64]]) -> str:
    """Return as a table in Markdown when the runs of each label came to the goal, and how many did."""
    lines = [
        f"| weights, gradients          | epoch of {GOAL:.0%}: median (range)  | runs that reach it |",
        f"|{'-' * 29}|{'-' * 31}|{'-' * 20}|",
    ]
    for label, epochs in reached.items():
        span = f"{_epoch(np.median(epochs))} ({_epoch(epochs.min())} to {_epoch(epochs.max())})"
        count = f"{np.isfinite(epochs).sum()} of {len(epochs)}"
        lines.append(f"| {label:27} | {span if np.isfinite(epochs).any() else 'never':29} | {count:18} |")
    return "\n".join(lines)


def answer(reached: dict[str, npt.NDArray[np.float64]]) -> str:
    """Return the answer in the medians of ``reached``."""
    median = {label: _epoch(np.median(epochs)) for label, epochs in reached.items()}
    return (
        "The original divided its gradients by the mini-batch size, and PyTorch, with its loss summed, did not:\n"
        f"at one lr the original's steps were {MINI_BATCH} times smaller. Epochs that it needs for {GOAL:.0%}: "
        f"{median[f'{ORIGINAL}, divided']} divided, {median[f'{ORIGINAL}, summed']} summed; "
        f"PyTorch: {median[PEER]}."
    )


def _epoch(epoch: float) -> str:
    return f"{epoch:.0f}" if np.isfinite(epoch) else "never"


if __name__ == "__main__":
    main()

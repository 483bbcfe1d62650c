"""scikit-learn's MLPs beside fastbp's in their place: ``python -m bench.estimators`` (a part of ``make speed``).

Fits, predictions of one row, and a search over a grid, by the same calls of both, in turn; each at one and at two
threads, and fastbp in float32 besides. Both must have trained the same epochs to the same loss. A whole run writes
``bench/results/estimators.json``.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from statistics import median
from time import perf_counter, strftime
from typing import Any

import numpy as np
from joblib import parallel_backend
from sklearn import datasets, neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import fastbp
import fastbp.sklearn
from bench import machine
from bench.figures import save_table

THREADS = (1, 2)
ROUNDS = 3
AGREEMENT = 1e-6  # of the last losses, over the first one
MADE_UP = "20,000 × 8"
EPOCHS_OF_MADE_UP = 20
LAYERS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "(32, 32), batch 32": {"hidden_layer_sizes": (32, 32), "batch_size": 32},
}
GRID = {"hidden_layer_sizes": [(32,), (64,), (100,)], "alpha": [1e-5, 1e-4, 1e-3, 1e-2], "batch_size": [64, 200]}
GRID_EPOCHS = 100
# What is asked for: of all fits in the geometric mean, of each of them, of a prediction, and of the search.
GOALS = {"fits": 10.0, "each fit": 3.0, "predictions": 20.0, "search": 8.0}

Data = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


@dataclass
class Row:
    """Seconds of one task, by library, and in it by the number of threads."""

    name: str
    seconds: dict[str, dict[int, list[float]]] = field(default_factory=dict)

    def note(self, library: str, threads: int, seconds: float) -> None:
        self.seconds.setdefault(library, {}).setdefault(threads, []).append(seconds)

    def best(self, library: str) -> float:
        """Return the median at the better number of threads."""
        return min(median(times) for times in self.seconds[library].values())

    @property
    def ratio(self) -> float:
        return self.best("scikit-learn") / self.best("fastbp")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.estimators", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few epochs, once: to see that it works, not to quote")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    fastbp.warmup()
    samples = all_data(2_000 if args.quick else 20_000)
    rounds = 1 if args.quick else ROUNDS
    fits = [
        fit_row(f"{name}, {layers}", samples[name], LAYERS[layers] | epochs_of(name, args.quick), rounds)
        for layers in LAYERS
        for name in samples
    ]
    predictions = [predict_row(name, samples[name]) for name in ("iris", "diabetes")]
    search = search_rows(samples["digits"], 2 if args.quick else GRID_EPOCHS)
    print(f"\n{format_rows([*fits, *predictions, *search])}\n")
    for line in verdicts(fits, predictions, search):
        print(line)
    if not args.quick:
        rows = {row.name: row.seconds for row in (*fits, *predictions, *search)}
        facts = machine.describe() | machine.versions("scikit-learn", "scipy")
        save_table({"date": strftime("%Y-%m-%d"), "machine": facts, "seconds": rows}, "estimators")


def all_data(made_up: int) -> dict[str, Data]:
    """Return inputs of scaled features and targets, by name."""
    loaders = {
        "iris": datasets.load_iris,
        "wine": datasets.load_wine,
        "breast cancer": datasets.load_breast_cancer,
        "digits": datasets.load_digits,
        "diabetes": datasets.load_diabetes,
    }
    found = {name: load(return_X_y=True) for name, load in loaders.items()}
    rng = np.random.default_rng(0)
    X = rng.standard_normal((made_up, 8))
    found[MADE_UP] = X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.standard_normal(made_up)
    return {name: (StandardScaler().fit_transform(X), y) for name, (X, y) in found.items()}


def epochs_of(name: str, quick: bool) -> dict[str, int]:
    if quick:
        return {"max_iter": 3}
    return {"max_iter": EPOCHS_OF_MADE_UP} if name == MADE_UP else {}


def estimator(library: str, data: Data, **options: Any) -> Any:
    """Return an estimator of "scikit-learn", "fastbp" or "fastbp, float32"."""
    kind = "MLPClassifier" if data[1].dtype.kind == "i" else "MLPRegressor"
    if library == "scikit-learn":
        return getattr(neural_network, kind)(random_state=0, **options)
    dtype = "float32" if library.endswith("float32") else None
    return getattr(fastbp.sklearn, kind)(random_state=0, dtype=dtype, **options)


@contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Let both libraries use so many threads."""
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        fastbp.set_num_threads(before)


def fit_row(name: str, data: Data, options: dict[str, Any], rounds: int) -> Row:
    """Time fits of both libraries in turn."""
    _say(f"fit: {name}")
    row, made = Row(f"fit: {name}"), {}
    for _ in range(rounds):
        for threads in THREADS:
            with at_most(threads):
                for library in ("scikit-learn", "fastbp", "fastbp, float32"):
                    made[library] = estimator(library, data, **options)
                    row.note(library, threads, _seconds(lambda mlp=made[library]: mlp.fit(*data)))
    theirs, ours = made["scikit-learn"], made["fastbp"]
    assert theirs.n_iter_ == ours.n_iter_, name
    assert abs(theirs.loss_ - ours.loss_) <= AGREEMENT * theirs.loss_curve_[0], name
    return row


def predict_row(name: str, data: Data, times: int = 300) -> Row:
    """Time predictions of one row."""
    _say(f"predict: {name}")
    row, one = Row(f"predict one row: {name}"), data[0][:1].copy()
    for library in ("scikit-learn", "fastbp", "fastbp, float32"):
        fitted = estimator(library, data, max_iter=5).fit(*data)
        sample = one.astype(np.float32) if library.endswith("float32") else one
        for _ in range(times):
            row.note(library, 1, _seconds(lambda fitted=fitted, sample=sample: fitted.predict(sample)))
    return row


def search_rows(data: Data, epochs: int) -> list[Row]:
    """Time the search over the grid, with workers that have been started: processes, threads, and one alone."""
    rows = []
    points = prod(map(len, GRID.values()))
    for name, backend, jobs, libraries in (
        ("two processes", "loky", 2, ("scikit-learn", "fastbp", "fastbp, float32")),
        ("two threads", "threading", 2, ("scikit-learn", "fastbp")),
        ("one job", "loky", 1, ("scikit-learn", "fastbp")),
    ):
        _say(f"search: {name}")
        row = Row(f"GridSearchCV on digits, {points} points: {name}")
        for library in libraries:
            mlp = estimator(library, data, max_iter=epochs)
            search = GridSearchCV(mlp, GRID, cv=5, n_jobs=jobs)
            with parallel_backend(backend, n_jobs=jobs):
                clone(search).set_params(estimator__max_iter=1).fit(*data)  # starts the workers
                row.note(library, jobs, _seconds(lambda search=search: search.fit(*data)))
        rows.append(row)
    return rows


def format_rows(rows: list[Row]) -> str:
    """Return the rows as a table: milliseconds at one / two threads, and how many times faster fastbp is."""
    libraries = ("scikit-learn", "fastbp", "fastbp, float32")
    lines = [["ms, at 1 / 2 threads", *libraries, "ratio, each at its best"]]
    for row in rows:
        cells = [_times(row.seconds.get(library, {})) for library in libraries]
        lines.append([row.name, *cells, f"{row.ratio:.1f} ×"])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _times(by_threads: dict[int, list[float]]) -> str:
    return " / ".join(f"{median(times) * 1e3:.3g}" for times in by_threads.values())


def verdicts(fits: list[Row], predictions: list[Row], search: list[Row]) -> Iterator[str]:
    """Yield a line for each goal."""
    mean = float(np.exp(np.mean([np.log(row.ratio) for row in fits])))
    slowest = min(fits, key=lambda row: row.ratio)
    processes, threads, alone = (row.best("fastbp") for row in search)
    found: list[tuple[str, float, str]] = [
        ("fits", mean, "in the geometric mean"),
        ("each fit", slowest.ratio, f"at the least: {slowest.name}"),
        ("predictions", min(row.ratio for row in predictions), "at the least"),
        ("search", search[0].best("scikit-learn") / processes, "in two processes"),
    ]
    for name, value, what in found:
        yield f"{name}: {value:.1f} × {what}; at least {GOALS[name]:g} ×: {'yes' if value >= GOALS[name] else 'NO'}"
    holds = "yes" if max(processes, threads) <= alone else "NO"
    yield (
        f"two workers are not slower than one: {processes:.2f} s in processes, {threads:.2f} s in threads, "
        f"{alone:.2f} s alone: {holds}"
    )


def _seconds(call: Callable[[], object]) -> float:
    begun = perf_counter()
    call()
    return perf_counter() - begun


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()

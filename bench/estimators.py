"""scikit-learn's MLPs beside fastbp's in their place: ``python -m bench.estimators`` (a part of ``make speed``).

Fits, predictions of one row, ensembles and a search over a grid, by the same calls of both, in turn; each at one and at
two threads, and fastbp in float32 besides. Both must have trained the same epochs to the same loss. Each row is kept in
``bench/results/estimators.json`` as soon as it is there: ``--resume`` goes on with a run that was cut off, and the name
of a section measures no other. A fit that takes long is timed less often, once at the least, and the table tells:
see ``estimators_report``, which ``python -m bench.performance`` shows.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from math import prod
from time import perf_counter, strftime
from typing import Any

import numpy as np
from joblib import parallel_backend
from sklearn import datasets, ensemble, neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import fastbp
import fastbp.sklearn
from bench import machine
from bench.estimators_report import LIBRARIES, NAME, ROUNDS, Row, format_rows, rows_of, verdicts
from bench.tables import load_table, save_table

THREADS = (1, 2)
AGREEMENT = 1e-6  # of the last losses, over the first one
MADE_UP = "20,000 × 8"
EPOCHS_OF_MADE_UP = 20
LOADERS: dict[str, Callable[..., Any]] = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
}
LAYERS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "(32, 32), batch 32": {"hidden_layer_sizes": (32, 32), "batch_size": 32},
}
GRID = {"hidden_layer_sizes": [(32,), (64,), (100,)], "alpha": [1e-5, 1e-4, 1e-3, 1e-2], "batch_size": [64, 200]}
GRID_EPOCHS = 100
MEMBERS, EPOCHS_OF_MEMBERS = 10, 30

Data = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.estimators", description=__doc__.partition("\n")[0])
    parser.add_argument("sections", nargs="*", metavar="section", help=f"of {', '.join(SECTIONS)}; all without one")
    parser.add_argument("--quick", action="store_true", help="few epochs, once: to see that it works, not to quote")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there, measure the others")
    args = parser.parse_args()
    unknown = set(args.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    warnings.simplefilter("ignore", ConvergenceWarning)
    fastbp.warmup()
    facts = machine.describe() | machine.versions("scikit-learn", "scipy")
    rows = kept_rows(load_table(NAME) if args.resume and not args.quick else None, facts)
    for section in args.sections or SECTIONS:
        for name, measure in SECTIONS[section](args.quick):
            if name in rows:
                continue
            print(name, flush=True)
            rows[name] = measure(Row(name))
            if not args.quick:
                seconds = {name: row.seconds for name, row in rows.items()}
                table = {"date": strftime("%Y-%m-%d"), "machine": facts, "seconds": seconds}
                save_table(table, NAME, tell=False)
    print(f"\n{format_rows(list(rows.values()))}\n")
    for line in verdicts(rows):
        print(line)


def kept_rows(table: Mapping[str, Any] | None, facts: Mapping[str, str]) -> dict[str, Row]:
    """Return the rows of a table that was written on this machine with the same versions, by name."""
    if table is None:
        return {}
    other = {key for key in facts if table["machine"].get(key) != facts[key]}
    if other:
        raise SystemExit(f"the rows that are there were measured with another {', '.join(sorted(other))}; begin anew")
    return rows_of(table)


Tasks = Iterator[tuple[str, Callable[[Row], Row]]]


def fits(quick: bool) -> Tasks:
    size, rounds = (2_000, 1) if quick else (20_000, ROUNDS)
    for layers in LAYERS:
        for name in (*LOADERS, MADE_UP):
            options = LAYERS[layers] | epochs_of(name, quick)
            yield f"fit: {name}, {layers}", partial(measure_fits, name, size, options, rounds)


def predictions(quick: bool) -> Tasks:
    for name in ("iris", "diabetes"):
        yield f"predict one row: {name}", partial(measure_predictions, name)


def ensembles(quick: bool) -> Tasks:
    epochs, rounds = (2, 1) if quick else (EPOCHS_OF_MEMBERS, ROUNDS)
    name = f"bagging: {MEMBERS} networks on samples of digits, (32,), {epochs} epochs"
    yield name, partial(measure_ensembles, epochs, rounds)


def search(quick: bool) -> Tasks:
    points, epochs = prod(map(len, GRID.values())), 2 if quick else GRID_EPOCHS
    for name, backend, jobs, libraries in (
        ("two processes", "loky", 2, LIBRARIES),
        ("two threads", "threading", 2, LIBRARIES[1:2]),
        ("one job", "loky", 1, LIBRARIES[1:2]),
    ):
        title = f"GridSearchCV on digits, {points} points: {name}"
        yield title, partial(measure_search, epochs, backend, jobs, libraries)


SECTIONS: dict[str, Callable[[bool], Tasks]] = {
    "fits": fits,
    "predictions": predictions,
    "ensembles": ensembles,
    "search": search,
}


@cache
def data_of(name: str, made_up: int = 20_000) -> Data:
    """Return inputs of scaled features, and targets."""
    if name in LOADERS:
        X, y = LOADERS[name](return_X_y=True)
    else:
        rng = np.random.default_rng(0)
        X = rng.standard_normal((made_up, 8))
        y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.standard_normal(made_up)
    return StandardScaler().fit_transform(X), y


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


def measure_fits(name: str, size: int, options: dict[str, Any], rounds: int, row: Row) -> Row:
    """Time fits of the libraries in turn."""
    made: dict[str, Any] = {}
    data = data_of(name, size)
    for library, threads in turns(row, rounds):
        made[library] = estimator(library, data, **options)
        row.note(library, threads, _seconds(lambda mlp=made[library]: mlp.fit(*data)))
    theirs, ours = made["scikit-learn"], made["fastbp"]
    assert theirs.n_iter_ == ours.n_iter_, row.name
    assert abs(theirs.loss_ - ours.loss_) <= AGREEMENT * theirs.loss_curve_[0], row.name
    return row


def turns(row: Row, rounds: int) -> Iterator[tuple[str, int]]:
    """Yield the libraries and numbers of threads in turn, so limited, as long as they are due."""
    for _ in range(rounds):
        for threads in THREADS:
            with at_most(threads):
                yield from ((library, threads) for library in LIBRARIES if row.is_due(library, threads))


def measure_predictions(name: str, row: Row, times: int = 300) -> Row:
    """Time predictions of one row."""
    data = data_of(name)
    one = data[0][:1].copy()
    for library in LIBRARIES:
        fitted = estimator(library, data, max_iter=5).fit(*data)
        sample = one.astype(np.float32) if library.endswith("float32") else one
        for _ in range(times):
            row.note(library, 1, _seconds(lambda fitted=fitted, sample=sample: fitted.predict(sample)))
    return row


def measure_ensembles(epochs: int, rounds: int, row: Row) -> Row:
    """Time ensembles: scikit-learn's in processes that have been started, fastbp's on threads."""
    data = data_of("digits")
    for library, jobs in turns(row, rounds):
        home = ensemble if library == "scikit-learn" else fastbp.sklearn
        member = estimator(library, data, hidden_layer_sizes=(32,), max_iter=epochs)
        bag = home.BaggingClassifier(member, MEMBERS, n_jobs=jobs, random_state=0)
        clone(bag).set_params(estimator__max_iter=1).fit(*data)  # starts the processes
        row.note(library, jobs, _seconds(lambda bag=bag: bag.fit(*data)))
    return row


def measure_search(epochs: int, backend: str, jobs: int, libraries: tuple[str, ...], row: Row) -> Row:
    """Time the search over the grid, with workers that have been started."""
    data = data_of("digits")
    for library in libraries:
        mlp = estimator(library, data, max_iter=epochs)
        search = GridSearchCV(mlp, GRID, cv=5, n_jobs=jobs)
        with parallel_backend(backend, n_jobs=jobs):
            clone(search).set_params(estimator__max_iter=1).fit(*data)
            row.note(library, jobs, _seconds(lambda search=search: search.fit(*data)))
    return row


def _seconds(call: Callable[[], object]) -> float:
    begun = perf_counter()
    call()
    return perf_counter() - begun


if __name__ == "__main__":
    main()

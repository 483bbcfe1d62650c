"""Many models in one call beside ``vmap`` of PyTorch and JAX: ``python -m bench.many`` (a part of ``make speed``).

Sections: copies of 2-25-25-25-2 at batch 50, each with its own weights, learning rate and order; 64 jobs of 16 shapes
on one thread and on two; 5 folds of 24 settings on digits beside ``GridSearchCV`` over fastbp's own estimator; one job
beside ``train_model``. ``python -m bench.many shapes one_job`` measures these two and keeps the rows of the others.

All take their turns in each round, and the best one counts. What is trained has been built outside of the time;
checking and planning it is inside. The copies must have the weights of PyTorch's and JAX's after the first epochs.
Writes ``bench/results/many.json``, which ``python -m bench.performance`` shows.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import pairwise, product
from time import perf_counter, strftime
from typing import Any

import joblib
import numpy as np
from sklearn import datasets
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold

import fastbp
import fastbp.sklearn
from bench import machine
from bench.goals import COPIES, FOLDS, ONE_JOB, SHAPES
from bench.many_peers import PEERS, Copies, Process
from bench.many_report import NAME, format_table
from bench.tables import load_table, save_table
from bench.workloads import Array
from fastbp import nn, optim

THREADS, ROUNDS = 2, 3
EPOCHS = {32: 50, 256: 50, 4096: 10}  # of ours, in a round: with planning and checking, once for each model
EPOCHS_OF_PEERS = {32: 10, 256: 3, 4096: 1}  # their time is even, and what they compile is not in it
ROUNDS_OF_COPIES = {32: 5, 256: 3, 4096: 2}
AGREEMENT = 1e-3  # of what was learned, in the peers' first epochs
NETWORKS = tuple(product((8, 16, 32, 64), (1, 2, 3, 4)))  # widths and numbers of hidden layers
GRID = {"hidden_layer_sizes": [(32,), (64,), (100,)], "alpha": [1e-5, 1e-4, 1e-3, 1e-2], "batch_size": [64, 200]}
GRID_EPOCHS = 30

# Of a row of the table: seconds of each round, by contender and by threads.
Times = dict[str, dict[str, list[float]]]
Turn = tuple[str, int, Callable[[], float]]


def seconds(function: Callable[[], object]) -> float:
    start = perf_counter()
    function()
    return perf_counter() - start


def in_turn(turns: list[Turn], rounds: int) -> Times:
    """Let each have its turn in each round; every other round goes backwards."""
    times: Times = {}
    for number in range(rounds):
        for name, threads, measure in turns[:: -1 if number % 2 else 1]:
            times.setdefault(name, {}).setdefault(str(threads), []).append(measure())
    return times


def job_of(widths: tuple[int, ...], data: tuple[Array, Array], seed: int, epochs: int, lr: float) -> fastbp.TrainingJob:
    rng, modules = np.random.default_rng(seed), list[nn.Module]()
    for inputs, outputs in pairwise(widths):
        modules += [nn.Linear(inputs, outputs, rng=rng), nn.ReLU()]
    model = nn.Sequential(*modules[:-1])
    return fastbp.TrainingJob(
        model=model, criterion=nn.MSELoss(), opt=optim.SGD(model.parameters(), lr=lr), epochs=epochs,
        mini_batch_size=Copies.mini_batch, train_input=data[0], train_target=data[1], shuffle=True, rng=seed,
    )  # fmt: skip


def jobs_of(copies: Copies) -> list[fastbp.TrainingJob]:
    data, rates, weights = copies.data(), copies.rates(), copies.weights()
    jobs = [job_of(copies.widths, data, copy, copies.epochs, float(rates[copy])) for copy in range(copies.count)]
    for copy, job in enumerate(jobs):
        for parameter, array in zip(job.model.parameters(), weights, strict=True):
            parameter.data[...] = array[copy]
    return jobs


def copies(count: int, quick: bool) -> Times:
    """Measure a step of one of so many copies, in each library."""
    ours, theirs = (Copies(count, 1 if quick else epochs[count]) for epochs in (EPOCHS, EPOCHS_OF_PEERS))
    names = [name for name, (library, _) in PEERS.items() if find_spec(library.partition(".")[0])]
    processes = {(name, threads): Process(name, threads) for name in names for threads in (1, THREADS)}
    try:
        for (name, _), process in processes.items():
            require_same(theirs, name, process.first_weights(theirs))

        def train() -> float:
            jobs = jobs_of(ours)
            return seconds(lambda: fastbp.train_models(jobs, progress=False)) / (ours.steps * count)

        turns: list[Turn] = [("fastbp", THREADS, train)]
        for (name, threads), process in processes.items():
            turns.append((name, threads, lambda process=process: process.seconds(theirs) / (theirs.steps * count)))  # type: ignore[misc]
        return in_turn(turns, 1 if quick else ROUNDS_OF_COPIES[count])
    finally:
        for process in processes.values():
            process.stop()


def require_same(copies: Copies, name: str, found: list[Array]) -> None:
    """Compare the first of the copies with ours."""
    few = Copies(min(copies.count, len(found[0])), copies.epochs)
    jobs, before = jobs_of(few), few.weights()
    fastbp.train_models(jobs, progress=False)
    for place, parameters in enumerate(zip(*(job.model.parameters() for job in jobs))):
        ours = np.stack([parameter.data for parameter in parameters])
        apart, learned = abs(ours - found[place]).max(), abs(ours - before[place]).max()
        if not apart <= AGREEMENT * learned:
            raise AssertionError(f"{name} is {apart:.2g} off after the first epochs, {learned:.2g} were learned")


def shapes(quick: bool) -> Times:
    data, epochs = Copies(1, 1).data(), 1 if quick else 50

    def train(threads: int) -> float:
        widths = [(2, *[width] * depth, 2) for width, depth in NETWORKS * 4]
        jobs = [job_of(each, data, seed, epochs, 0.01) for seed, each in enumerate(widths)]
        fastbp.set_num_threads(threads)
        took = seconds(lambda: fastbp.train_models(jobs, progress=False))
        fastbp.set_num_threads(THREADS)
        return took

    turns: list[Turn] = [("one thread", 1, partial(train, 1)), ("two threads", 2, partial(train, 2))]
    return in_turn(turns, 1 if quick else ROUNDS)


def one_job(quick: bool) -> Times:
    data, epochs = Copies(1, 1).data(), 1 if quick else 50

    def many() -> float:
        job = job_of(Copies.widths, data, 0, epochs, 0.01)
        return seconds(lambda: fastbp.train_models([job], progress=False))

    def alone() -> float:
        arguments = job_of(Copies.widths, data, 0, epochs, 0.01).arguments() | {"progress": False}
        return seconds(lambda: fastbp.train_model(**arguments))

    return in_turn([("fastbp", 1, many), ("train_model", 1, alone)], 3 if quick else 200)


def folds(quick: bool) -> Times:
    """Cross-validate each setting of a grid, by one call and by ``GridSearchCV``, whose workers have been started."""
    digits, epochs = datasets.load_digits(), 1 if quick else GRID_EPOCHS
    input, target = (digits.data / 16).astype(np.float32), digits.target
    parts = list(StratifiedKFold(5).split(input, target))

    def in_one_call() -> float:
        chosen = [(dict(zip(GRID, values)), *part) for values, part in product(product(*GRID.values()), parts)]
        jobs = [digits_job(setting, input, target, fitted, epochs) for setting, fitted, _ in chosen]

        def train_and_score() -> None:
            fastbp.train_models(jobs, progress=False)
            for job, (_, _, scored) in zip(jobs, chosen, strict=True):
                fastbp.compute_accuracy(job.model, input[scored], target[scored])

        return seconds(train_and_score)

    def by_search(backend: str, workers: int) -> float:
        options = {"tol": 0.0, "n_iter_no_change": epochs, "random_state": 0, "dtype": "float32"}
        search = GridSearchCV(fastbp.sklearn.MLPClassifier(max_iter=epochs, **options), GRID, cv=parts, refit=False)
        with joblib.parallel_config(backend, n_jobs=workers):
            clone(search).set_params(estimator__max_iter=1, param_grid={"alpha": [1e-3] * 4}).fit(input, target)
            return seconds(lambda: search.fit(input, target))

    turns: list[Turn] = [("fastbp", THREADS, in_one_call)]
    for name, backend, workers in (("in processes", "loky", 2), ("in threads", "threading", 2), ("alone", "loky", 1)):
        turns.append((f"GridSearchCV {name}", workers, partial(by_search, backend, workers)))
    return in_turn(turns, 1 if quick else ROUNDS)


def digits_job(
    setting: dict[str, Any], input: Array, target: Array, fitted: Array, epochs: int
) -> fastbp.TrainingJob:
    (width,) = setting["hidden_layer_sizes"]
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    opt = optim.Adam(model.parameters(), lr=1e-3, weight_decay=setting["alpha"])
    return fastbp.TrainingJob(
        model=model, criterion=nn.CrossEntropyLoss(), opt=opt, epochs=epochs, mini_batch_size=setting["batch_size"],
        train_input=input, train_target=target, rows=fitted, shuffle=True, rng=0,
    )  # fmt: skip


# What can be measured by itself: the row of the table, and what measures it.
SECTIONS: dict[str, tuple[str, Callable[[bool], Times]]] = {
    **{f"copies_{count}": (row, partial(copies, count)) for count, row in COPIES.items()},
    "shapes": (SHAPES, shapes),
    "folds": (FOLDS, folds),
    "one_job": (ONE_JOB, one_job),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.many", description=__doc__.partition("\n")[0])
    parser.add_argument("sections", nargs="*", metavar="section", help=f"of {', '.join(SECTIONS)}; all without one")
    parser.add_argument("--quick", action="store_true", help="few epochs, once: to see that it works, nothing written")
    args = parser.parse_args()
    unknown = set(args.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    if (os.cpu_count() or 1) < THREADS:
        parser.error(f"the goals are those of {THREADS} cores")
    warnings.simplefilter("ignore", ConvergenceWarning)
    fastbp.set_num_threads(THREADS)
    fastbp.warmup()
    facts = machine.describe() | machine.versions("jax", "scikit-learn")
    kept = None if args.quick else load_table(NAME)
    rows: dict[str, Times] = kept["seconds"] if kept and kept["machine"] == facts else {}
    for section in args.sections or SECTIONS:
        row, measure = SECTIONS[section]
        print(f"{strftime('%H:%M:%S')} {row}", file=sys.stderr, flush=True)
        rows[row] = measure(args.quick)
        table = {"date": strftime("%Y-%m-%d"), "machine": facts, "seconds": rows}
        if not args.quick:
            save_table(table, NAME)
    print(format_table(table))


if __name__ == "__main__":
    main()

"""Many models in one call beside ``vmap`` of PyTorch and JAX: ``python -m bench.many`` (a part of ``make speed``).

Copies of 2-25-25-25-2 at batch 50, each with its own learning rate and order; 64 jobs of 16 shapes on one thread and on
two; one job beside ``train_model``; and a cross-validated grid beside ``GridSearchCV`` over fastbp's own estimator. New
models each round, built outside of what is timed; planning and checking them is inside. JAX takes all cores, PyTorch
its better number of threads. A whole run writes ``bench/results/many.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise, product
from time import perf_counter, strftime
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.model_selection import GridSearchCV, StratifiedKFold

import fastbp
import fastbp.sklearn
from bench import machine
from bench.figures import save_table
from bench.many_peers import jax_vmap_in_scan, torch_vmap
from bench.workloads import Array
from fastbp import nn, optim

WIDTHS = (2, 25, 25, 25, 2)
COPIES = (32, 256, 4096)
SAMPLES, MINI_BATCH = 1000, 50
THREADS, ROUNDS = 2, 3
STEPS = 200  # of each model; the peers are given fewer where there are many models, for their time is even
SHAPES = tuple(product((8, 16, 32, 64), (1, 2, 3, 4)))  # widths and numbers of hidden layers
GRID = {"hidden_layer_sizes": [(32,), (64,), (100,)], "alpha": [1e-5, 1e-4, 1e-3, 1e-2], "batch_size": [64, 200]}
GRID_EPOCHS = 30
GOALS = {
    "torch vmap": 20.0, "JAX vmap in scan": 8.0, "two threads": 1.9, "one job": 1 / 1.03, "GridSearchCV": 1.5
}  # fmt: skip

Verdict = dict[str, Any]


def seconds(function: Callable[[], object]) -> float:
    start = perf_counter()
    function()
    return perf_counter() - start


def job_of(widths: tuple[int, ...], data: tuple[Array, Array], seed: int, epochs: int, lr: float) -> fastbp.TrainingJob:
    rng, modules = np.random.default_rng(seed), list[nn.Module]()
    for inputs, outputs in pairwise(widths):
        modules += [nn.Linear(inputs, outputs, rng=rng), nn.ReLU()]
    model = nn.Sequential(*modules[:-1])
    return fastbp.TrainingJob(
        model=model, criterion=nn.MSELoss(), opt=optim.SGD(model.parameters(), lr=lr), epochs=epochs,
        mini_batch_size=MINI_BATCH, train_input=data[0], train_target=data[1], shuffle=True, rng=seed,
    )  # fmt: skip


def rows() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    input, target = (rng.standard_normal((SAMPLES, 2)).astype(np.float32) for _ in range(2))
    return input, target


def verdict(name: str, goal: str, ours: float, other: float) -> Verdict:
    """Judge a time of ours by another one, as factor and as goal; print it."""
    factor = other / ours
    found = {"name": name, "against": goal, "seconds": ours, "other": other, "factor": factor, "goal": GOALS[goal]}
    sign = "holds" if factor >= GOALS[goal] else "does not hold"
    print(f"{name:<44} {ours:10.3g} s, {goal} {other:10.3g} s: {factor:6.2f} x, {sign} ({GOALS[goal]:.3g})", flush=True)
    return found


def copies(count: int, steps: int, rounds: int) -> list[Verdict]:
    """Compare seconds of a model's step: the smallest of several, in turn."""
    data, lr = rows(), np.linspace(0.001, 0.05, count, dtype=np.float32)
    epochs = max(1, steps * MINI_BATCH // SAMPLES)
    peer_steps = min(steps, max(2, 20_000 // count))
    orders = np.random.default_rng(1).integers(SAMPLES, size=(peer_steps, count, MINI_BATCH))
    peers = {"torch vmap": [torch_vmap(WIDTHS, *data, orders, lr, threads) for threads in (1, THREADS)]}
    if find_spec("jax"):
        peers["JAX vmap in scan"] = [jax_vmap_in_scan(WIDTHS, *data, orders, lr, THREADS)]
    for trains in peers.values():
        for train in trains:
            train()  # compiles
    ours, best = [], {name: float("inf") for name in peers}
    for _ in range(rounds):
        jobs = [job_of(WIDTHS, data, seed, epochs, float(rate)) for seed, rate in enumerate(lr)]
        ours.append(seconds(lambda jobs=jobs: fastbp.train_models(jobs)))  # type: ignore[misc]
        for name, trains in peers.items():
            best[name] = min(best[name], *map(seconds, trains))
    own = min(ours) / (count * epochs * SAMPLES / MINI_BATCH)
    return [verdict(f"{count} copies, a model's step", name, own, best[name] / (count * peer_steps)) for name in peers]


def shapes(epochs: int, rounds: int) -> list[Verdict]:
    times: dict[int, list[float]] = {1: [], THREADS: []}
    for _, threads in product(range(rounds), times):
        jobs = [
            job_of((2, *[width] * depth, 2), rows(), seed, epochs, 0.01)
            for seed, (width, depth) in enumerate(SHAPES * 4)
        ]
        fastbp.set_num_threads(threads)
        times[threads].append(seconds(lambda jobs=jobs: fastbp.train_models(jobs)))  # type: ignore[misc]
    fastbp.set_num_threads(THREADS)
    return [verdict("64 jobs of 16 shapes, two threads", "two threads", min(times[THREADS]), min(times[1]))]


def one_job(epochs: int, rounds: int) -> list[Verdict]:
    many, alone = [], []
    for _ in range(3 * rounds):
        job = job_of(WIDTHS, rows(), 0, epochs, 0.01)
        many.append(seconds(lambda job=job: fastbp.train_models([job])))  # type: ignore[misc]
        job = job_of(WIDTHS, rows(), 0, epochs, 0.01)
        alone.append(seconds(lambda job=job: fastbp.train_model(**job.arguments())))  # type: ignore[misc]
    return [verdict("one job, against train_model", "one job", min(many), min(alone))]


def grid(epochs: int) -> list[Verdict]:
    """Cross-validate each setting of a grid, by one call and by ``GridSearchCV``, on two threads or processes."""
    digits = datasets.load_digits()
    input, target = (digits.data / 16).astype(np.float32), digits.target
    folds = list(StratifiedKFold(5).split(input, target))
    jobs = []
    settings = [dict(zip(GRID, values)) for values in product(*GRID.values())]
    for setting, (fitted, scored) in product(settings, folds):
        (width,) = setting["hidden_layer_sizes"]
        model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
        opt = optim.Adam(model.parameters(), lr=1e-3, weight_decay=setting["alpha"])
        jobs.append(
            fastbp.TrainingJob(
                model=model, criterion=nn.CrossEntropyLoss(), opt=opt, epochs=epochs,
                mini_batch_size=setting["batch_size"], train_input=input, train_target=target, rows=fitted,
                val_rows=scored, shuffle=True, rng=0,
            )
        )  # fmt: skip
    estimator = fastbp.sklearn.MLPClassifier(max_iter=epochs, tol=0.0, n_iter_no_change=epochs, random_state=0)
    search = GridSearchCV(estimator, GRID, cv=folds, refit=False, n_jobs=THREADS)
    ours = seconds(lambda: fastbp.train_models(jobs))
    return [
        verdict("5 folds of 24 settings on digits", "GridSearchCV", ours, seconds(lambda: search.fit(input, target)))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.many", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="see that it runs: few models and steps, nothing written")
    quick = parser.parse_args().quick
    fastbp.set_num_threads(THREADS)
    fastbp.warmup()
    steps, rounds = (40, 1) if quick else (STEPS, ROUNDS)
    found = [row for count in (COPIES[:1] if quick else COPIES) for row in copies(count, steps, rounds)]
    found += (
        shapes(1 if quick else 50, rounds) + one_job(1 if quick else 50, rounds) + grid(1 if quick else GRID_EPOCHS)
    )
    if not quick:
        described = machine.describe() | machine.versions("torch", "jax", "scikit-learn")
        save_table({"date": strftime("%Y-%m-%d"), "machine": described, "verdicts": found}, "many")


if __name__ == "__main__":
    main()

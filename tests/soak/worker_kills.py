"""Kill workers of a sweep at any moment, under joblib's backends: what comes back has the bits of ``train_models``.

python tests/soak/worker_kills.py --count 60
python tests/soak/worker_kills.py --count 5 --backends ray

While a sweep runs, a worker that is drawn gets a SIGKILL at a moment that is drawn. Each kill has a sweep of its own;
the workers that dask, loky or Ray start in its place serve the next one. Ray, which takes seconds to start its workers
for each sweep, gets a tenth of the kills.
"""

from __future__ import annotations

import random
import signal
import threading
import time
import warnings
from contextlib import contextmanager

import joblib
import numpy
import psutil
from report import Report, parser
from same_bits import SMOOTH, assert_same_bits, outcome

import fastbp
from fastbp import nn, optim
from fastbp.sweep import sweep

SETTINGS = [{"seed": seed, "lr": 0.001 * (1 + seed)} for seed in range(24)]
DATA = SMOOTH.data(numpy.float32, 400)[:2]


def build(setting, input, target):
    model = SMOOTH.build(numpy.float32, setting["seed"])
    return fastbp.TrainingJob(
        model=model, criterion=nn.MSELoss(), opt=optim.Adam(model.parameters(), lr=setting["lr"]), epochs=150,
        mini_batch_size=8, train_input=input, train_target=target, shuffle=True, rng=setting["seed"],
    )  # fmt: skip


@contextmanager
def dask():
    from distributed import Client, LocalCluster

    patient = {"wait_for_workers_timeout": 60}  # of workers that start anew
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with LocalCluster(**options) as cluster, Client(cluster), joblib.parallel_config("dask", **patient):
        yield


@contextmanager
def loky():
    with joblib.parallel_config("loky", n_jobs=2):
        yield


@contextmanager
def ray():
    import ray
    from ray.util.joblib import register_ray

    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", object_store_memory=10**8)
    with joblib.parallel_config("ray", n_jobs=2):
        yield
    ray.shutdown()


# Of each backend its block, and what the command line of its workers has in it.
BACKENDS = {dask: "spawn_main", loky: "popen_loky", ray: "ray::PoolActor"}
KILLS_OF_A_CLUSTER = 4  # dask gives workers up that were killed again and again


def workers(mark):
    """The processes that train."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any(mark in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:  # it has ended just now
            continue
    return found


def kill_one(mark, seconds, over, killed):
    """Kill a worker after so many seconds, or as soon as there is one, unless the sweep is over before."""
    if over.wait(seconds):
        return
    while not (found := workers(mark)):
        if over.wait(0.1):
            return
    random.choice(found).send_signal(signal.SIGKILL)
    killed.append(time.perf_counter())


def go_through(mark, seconds, expected):
    """Sweep with a kill in the middle; return whether one came in time, and how long all of it took."""
    over, killed, chunks, start = threading.Event(), [], [], time.perf_counter()
    killer = threading.Thread(target=kill_one, args=(mark, random.uniform(0, seconds), over, killed))
    killer.start()
    try:
        results = sweep(build, SETTINGS, DATA, chunk_size=2, on_chunk=chunks.append)
    finally:
        over.set()
        killer.join()
    assert [result.setting for result in results] == SETTINGS
    assert len(chunks) == len(SETTINGS) / 2, "a chunk that came back was trained again"
    for result, one in zip(results, expected, strict=True):
        assert_same_bits(outcome(result.model, result.history), one)
    return bool(killed), time.perf_counter() - start


def main():
    arguments = parser(__doc__, 60)
    names = [backend.__name__ for backend in BACKENDS]
    arguments.add_argument("--backends", nargs="*", default=names, choices=names)
    chosen = arguments.parse_args()
    warnings.simplefilter("ignore")  # each backend tells of the workers that it has lost
    jobs = [build(setting, *DATA) for setting in SETTINGS]
    expected = [outcome(job.model, history) for job, history in zip(jobs, fastbp.train_models(jobs), strict=True)]
    with Report() as counts:
        for backend, mark in BACKENDS.items():
            name = backend.__name__
            if name not in chosen.backends:
                continue
            wanted = max(1, chosen.count // 10) if backend is ray else chosen.count
            counts[f"kills_under_{name}"] = counts[f"sweeps_under_{name}"] = 0
            while counts[f"kills_under_{name}"] < wanted:
                with backend():
                    sweep(build, SETTINGS, DATA, chunk_size=2)  # starts the workers
                    start = time.perf_counter()
                    sweep(build, SETTINGS, DATA, chunk_size=2)
                    seconds = time.perf_counter() - start
                    for _ in range(KILLS_OF_A_CLUSTER):
                        counts[f"kills_under_{name}"] += go_through(mark, seconds, expected)[0]
                        counts[f"sweeps_under_{name}"] += 1


if __name__ == "__main__":
    main()

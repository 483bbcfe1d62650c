"""Sweeps over settings, in this process and in others, which may be killed."""

import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import joblib
import length
import numpy
import pytest
from helpers import child_environment
from same_bits import SMOOTH, assert_same_bits, outcome
from sweep_jobs import build

import fastbp
from fastbp import nn
from fastbp.sweep import sweep

SETTINGS = [{"seed": seed, "lr": 0.01 * (1 + seed)} for seed in range(7)]


def data():
    return SMOOTH.data(numpy.float32, 400)[:2]  # above the size from which joblib sends an array once to each worker


def expected():
    jobs = [build(setting, *data()) for setting in SETTINGS]
    return [outcome_of(job.model, history) for job, history in zip(jobs, fastbp.train_models(jobs), strict=True)]


def assert_all_are(results, settings=SETTINGS):
    assert [result.setting for result in results] == settings
    assert [result.error for result in results] == [""] * len(settings)
    for result, one in zip(results, expected(), strict=True):
        assert_same_bits(outcome_of(result.model, result.history), one)


def outcome_of(model, history):
    """What a training left behind, but for the gradients: they do not come back from a worker."""
    if model is not None:
        model.zero_grad()
    return outcome(model, history)


def test_a_sweep_here_has_the_bits_of_train_models():
    chunks = []
    assert_all_are(sweep(build, SETTINGS, data(), chunk_size=3, on_chunk=lambda results: chunks.append(len(results))))
    assert sorted(chunks) == [1, 3, 3]


def test_what_a_training_raises_is_in_its_result():
    input, target = data()
    settings = [{**SETTINGS[0], "on_nonfinite": "raise"}, SETTINGS[1]]
    input = numpy.full_like(input, numpy.inf)
    with pytest.warns(fastbp.DivergenceWarning, match="^job 0"):
        sweep(build, settings[1:], (input, target))
    results = sweep(build, [settings[0]], (input, target))
    assert results[0].error.startswith("DivergenceError: the loss became NaN")


def test_what_build_raises_is_the_failure_of_its_setting_alone():
    def build_some(setting, *data):
        if setting["seed"] in (0, 4):
            raise LookupError(f"nothing of {setting['seed']}")
        return None if setting["seed"] == 5 else build(setting, *data)

    for chunk_size in (1, 3, 32):
        results = sweep(build_some, SETTINGS, data(), chunk_size=chunk_size)
        assert [result.setting for result in results] == SETTINGS
        assert {result.setting["seed"]: result.error for result in results if result.error} == {
            0: "LookupError: nothing of 0", 4: "LookupError: nothing of 4",
            5: "TypeError: sweep takes a build that returns a fastbp.TrainingJob, got NoneType",
        }  # fmt: skip
        for result, one in zip(results, expected(), strict=True):
            if result.error:
                assert result.model is None
                assert result.history.epochs == 0
            else:
                assert_same_bits(outcome_of(result.model, result.history), one)


def test_a_bad_chunk_size_is_refused():
    with pytest.raises(ValueError, match="chunk_size of 1 or more, got 0"):
        sweep(build, SETTINGS, data(), chunk_size=0)


@pytest.mark.parametrize("chunk_size", [1, 3, 32])
def test_a_job_that_train_model_refuses_is_an_error_of_its_setting_alone(chunk_size):
    class Raising(nn.MSELoss):
        def forward(self, prediction, target, sample_weight=None):
            raise LookupError("of the user's")

    def build_some(setting, input, target):
        job = build(setting, input, target)
        bad = {0: {"epochs": 1.5}, 3: {"train_input": input[:, :1]}, 4: {"criterion": Raising()}, 6: {"rng": -1}}
        return replace(job, **bad.get(setting["seed"], {}))

    results = sweep(build_some, SETTINGS, data(), chunk_size=chunk_size)
    told = [result.error for result in results]
    assert [seed for seed, text in enumerate(told) if text] == [0, 3, 4, 6]
    assert told[0] == "TypeError: train_model takes epochs as an int, got 1.5"
    assert told[3].startswith("ValueError: train_model takes train_input of shape")
    assert told[4] == "LookupError: of the user's"
    assert told[6].startswith("ValueError: ")
    for result, one in zip(results, expected(), strict=True):
        if result.error:
            assert result.history.epochs == 0
        else:
            assert_same_bits(outcome_of(result.model, result.history), one)


def test_jobs_that_share_a_part_are_refused():
    model = SMOOTH.build(numpy.float32, 0)
    with pytest.raises(ValueError, match="jobs 0 and 1 with one module"):
        sweep(lambda setting, *arrays: replace(build(setting, *arrays), model=model), SETTINGS, data())


class AllAtOnce(joblib.parallel.ThreadingBackend):
    """Returns nothing before all is done, as Ray's backend."""

    supports_return_generator = False


def test_where_results_come_together_some_chunks_are_asked_for_at_a_time(monkeypatch):
    monkeypatch.setattr(fastbp.sweep, "_CHUNKS_OF_A_WORKER", 1)
    chunks, killed = [], []

    def build_or_die(setting, *data):
        if setting["seed"] == 3 and not killed:
            killed.append(list(chunks))
            raise BrokenProcessPool
        return build(setting, *data)

    joblib.register_parallel_backend("all at once", AllAtOnce)
    with joblib.parallel_config("all at once", n_jobs=2):
        results = sweep(
            build_or_die, SETTINGS, data(), chunk_size=1, on_chunk=lambda found: chunks.append(found[0].setting["seed"])
        )
    assert_all_are(results)
    assert killed == [[0, 1]], "what has come back is kept"
    assert chunks == list(range(7))


SCRIPT = """
import sys, os
sys.path.insert(0, {tests!r})
if __name__ == "__main__":
    import joblib
    from test_sweep import SETTINGS, assert_all_are, data
    from sweep_jobs import build
    from fastbp.sweep import sweep
    settings = [dict(setting) for setting in SETTINGS]
    settings[4] |= {{"kill": {flag!r}, "parent": os.getpid()}}
    chunks = []
    def note(results):
        chunks.append(results[0].setting["seed"])
    {run}
    assert_all_are(results, settings)
    assert os.path.exists({flag!r}), "no worker was killed"
    assert sorted(chunks) == list(range(7)), chunks
    print("same bits")
"""
LOKY = """
    with joblib.parallel_config("loky", n_jobs=2):
        results = sweep(build, settings, data(), chunk_size=1, on_chunk=note)
"""
DASK = """
    from distributed import Client, LocalCluster
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
                      host="127.0.0.1") as cluster, Client(cluster):
        with joblib.parallel_config("dask"):
            results = sweep(build, settings, data(), chunk_size=1, on_chunk=note)
"""


RAY = """
    import ray
    from ray.util.joblib import register_ray
    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", object_store_memory=10**8)
    with joblib.parallel_config("ray", n_jobs=2):
        results = sweep(build, settings, data(), chunk_size=1, on_chunk=note)
"""
RUNS = {"loky": LOKY, "dask": DASK}
if length.WHOLE:  # it takes half a minute to start
    RUNS["ray"] = RAY


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_killed_worker_costs_its_chunk_which_is_trained_again_with_the_same_bits(run, tmp_path):
    script = tmp_path / "script.py"
    tests = str(Path(__file__).parent)
    script.write_text(SCRIPT.format(tests=tests, flag=str(tmp_path / "killed"), run=run.strip()))
    environment = child_environment(tests, OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.strip().endswith("same bits"), done.stdout + done.stderr

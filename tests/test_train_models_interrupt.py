"""Ctrl-C in a call that trains many models: each is at a finished mini-batch, and all go on with the same bits."""

import threading

import pytest
from same_bits import assert_same_bits, outcome
from test_interrupt import CtrlC
from test_train_models import alone, job_of

import fastbp


@pytest.fixture(params=[1, 2])
def some_threads(request):
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(request.param)
    yield request.param
    fastbp.set_num_threads(before)


@pytest.mark.parametrize("opt", ["Adam", "own"])
def test_ctrl_c_stops_all_models_and_the_call_goes_on_with_the_same_bits(some_threads, opt):
    epochs = 3000 if opt == "Adam" else 40

    def make():
        options = {"opt": opt, "shuffle": True, "val": 9, "epochs": epochs}
        return [job_of(seed=seed, rng=seed, **options) for seed in range(6)]

    expected, jobs, histories, stops = [alone(job) for job in make()], make(), None, 0
    while stops < 50:
        try:
            with CtrlC(0.05):
                histories = fastbp.train_models(jobs, histories=histories)
            break
        except fastbp.TrainingsInterrupted as stopped:
            histories, stops = stopped.histories, stops + 1
    assert stops
    for job, history, one in zip(jobs, histories, expected, strict=True):
        assert_same_bits(outcome(job.model, history), one)
    assert threading.active_count() < 4


def test_an_interrupt_from_a_function_of_the_users_stops_all(some_threads):
    def stop(history):
        raise KeyboardInterrupt

    jobs = [job_of(seed=seed, epochs=100_000 if seed else 100_001, progress=None if seed else stop) for seed in range(3)]
    with pytest.raises(fastbp.TrainingsInterrupted, match="0 of 3 trainings had ended"):
        fastbp.train_models(jobs)

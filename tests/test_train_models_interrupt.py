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
    epochs = 5000 if opt == "Adam" else 100

    def make():
        options = {"opt": opt, "shuffle": True, "val": 9, "epochs": epochs}
        return [job_of(seed=seed, rng=seed, **options) for seed in range(6)]

    expected, jobs, histories = [alone(job) for job in make()], make(), None
    threads = threading.active_count()  # other tests may have left some
    for _ in range(3):
        with pytest.raises(fastbp.TrainingsInterrupted) as stopped, CtrlC(0.03):
            fastbp.train_models(jobs, histories=histories)
        histories = stopped.value.histories
    assert any(history.has_begun for history in histories)
    histories = fastbp.train_models(jobs, histories=histories)
    for job, history, one in zip(jobs, histories, expected, strict=True):
        assert_same_bits(outcome(job.model, history), one)
    assert threading.active_count() <= threads


def test_an_interrupt_from_a_function_of_the_users_stops_all(some_threads):
    def stop(history):
        raise KeyboardInterrupt

    jobs = [job_of(epochs=100_001, progress=stop), *(job_of(seed=seed, epochs=100_000) for seed in (1, 2))]
    with pytest.raises(fastbp.TrainingsInterrupted, match="0 of 3 trainings had ended"):
        fastbp.train_models(jobs)

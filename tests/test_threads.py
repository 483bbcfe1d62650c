"""How many threads compute, and that nobody can tell from the results."""

import os
import signal
import sys
import threading

import numpy
import pytest
from helpers import draw
from memory import assert_survives
from same_bits import Network, assert_same_bits, train

import fastbp
from fastbp import nn
from fastbp.engine import parallelism, predictor
from fastbp.runtime import threads

SMALL = Network((4, 25, 16, 3), ("ReLU", "Tanh", None))
LARGE = Network((100, 300, 300, 10), ("ReLU", "Sigmoid", None))


@pytest.fixture(autouse=True)
def number_of_threads_as_before():
    before = fastbp.get_num_threads()
    yield
    fastbp.set_num_threads(before)


@pytest.fixture
def eager_threads(monkeypatch):
    """Threads for the smallest work, in trainings, predictions and single modules; the list counts those started."""
    started = []

    class Counting(threading.Thread):
        def start(self):
            started.append(self)
            super().start()

    for module in (threads, predictor):
        monkeypatch.setattr(module, "FLOP_PER_START", 1.0)
    monkeypatch.setattr(threads, "FLOP_PER_THREAD", 1.0)
    monkeypatch.setattr(threads, "Thread", Counting)
    return started


def test_the_number_of_threads_is_that_of_the_cores_or_what_was_set():
    assert fastbp.get_num_threads() >= 1
    for number in (1, 3, 2):
        fastbp.set_num_threads(number)
        assert fastbp.get_num_threads() == number


def test_a_python_thread_may_have_a_limit_of_its_own():
    fastbp.set_num_threads(3)
    elsewhere = []
    with threads.threads_limited(2):
        with threads.threads_limited(1):
            assert fastbp.get_num_threads() == threads.ranks_for(1e12, 9) == 1
            other = threading.Thread(target=lambda: elsewhere.append(fastbp.get_num_threads()))
            other.start()
            other.join()
        assert fastbp.get_num_threads() == threads.ranks_for(1e12, 9) == 2
    assert fastbp.get_num_threads() == 3
    assert elsewhere == [3]


@pytest.mark.parametrize("number", [0, -1])
def test_fewer_threads_than_one_are_refused(number):
    before = fastbp.get_num_threads()
    with pytest.raises(ValueError, match=f"set_num_threads takes 1 or more, got {number}"):
        fastbp.set_num_threads(number)
    assert fastbp.get_num_threads() == before


@pytest.mark.parametrize("number", [2.0, True, "2", None])
def test_a_number_of_threads_that_is_no_int_is_refused(number):
    before = fastbp.get_num_threads()
    with pytest.raises(TypeError, match="set_num_threads takes an int"):
        fastbp.set_num_threads(number)
    assert fastbp.get_num_threads() == before


def test_single_modules_give_the_same_bits_for_every_number_of_threads(eager_threads, dtype):
    for n, i, o in [(37, 300, 21), (1, 5, 7), (300, 3, 40), (2, 17, 1), (0, 4, 5)]:
        outcomes = []
        for count in (1, 2, 3):
            fastbp.set_num_threads(count)
            layer = nn.Linear(i, o, rng=0, dtype=dtype)
            arrays = [layer(draw((n, i), dtype)), layer.backward(draw((n, o), dtype, seed=1), retain_graph=True)]
            layer.backward_parameters(draw((n, o), dtype, seed=2))
            arrays += [layer.predict(draw((n, i), dtype)), layer.weight.grad, layer.bias.grad]
            outcomes.append([array.copy() for array in arrays])
        for other in outcomes[1:]:
            for one, two in zip(outcomes[0], other, strict=True):
                numpy.testing.assert_array_equal(one, two)
    assert eager_threads


def test_predictions_are_the_same_bits_for_every_number_of_threads(eager_threads, dtype):
    model = SMALL.build(dtype)
    for n in (0, 1, 15, 16, 17, 40, 600, 1100):
        x = draw((n, 4), dtype)
        fastbp.set_num_threads(1)
        expected = model.predict(x)
        for count in (2, 3):
            fastbp.set_num_threads(count)
            numpy.testing.assert_array_equal(model.predict(x), expected)
    assert eager_threads


def in_threads(work, count):
    """Run ``work(k)`` in ``count`` threads that start together, and return the results."""
    results, gate = [None] * count, threading.Barrier(count)

    def run(k):
        gate.wait()
        try:
            results[k] = work(k)
        except BaseException as error:
            results[k] = error

    workers = [threading.Thread(target=run, args=(k,)) for k in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


@pytest.fixture
def hasty_switches():
    """Python goes from thread to thread as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_switches")
@pytest.mark.parametrize("by_modules", [False, True])
def test_eight_models_trained_at_once_are_as_if_trained_alone(by_modules):
    networks = [Network((4, 5 + k, 3), ("ReLU", None)) for k in range(8)]

    def work(k):
        data = networks[k].data(numpy.float32, 50 + k, 20)
        return train(networks[k].build(numpy.float32), data, 30, 7, by_modules=by_modules, shuffle=True, rng=k)

    for k, outcome in enumerate(in_threads(work, 8)):
        assert_same_bits(outcome, work(k))


def test_models_trained_at_once_may_each_use_threads(eager_threads):
    fastbp.set_num_threads(2)
    data = SMALL.data(numpy.float32, 600, 40)
    expected = train(SMALL.build(numpy.float32), data, 3, 300)
    for outcome in in_threads(lambda _: train(SMALL.build(numpy.float32), data, 3, 300), 4):
        assert_same_bits(outcome, expected)
    assert eager_threads


@pytest.mark.usefixtures("hasty_switches")
@pytest.mark.parametrize("rows", [1, 40, 600])
def test_many_threads_predict_by_one_model_at_once(rows, dtype):
    model = SMALL.build(dtype)
    inputs = [draw((rows, 4), dtype, seed) for seed in range(8)]
    expected = [model.predict(x) for x in inputs]

    def work(k):
        return [model.predict(inputs[k]) for _ in range(200)]

    for k, predictions in enumerate(in_threads(work, 8)):
        for prediction in predictions:
            numpy.testing.assert_array_equal(prediction, expected[k])


def refused_from(rank):
    """Threads as the system gives them, but none from this rank on."""

    class Refused(threading.Thread):
        def start(self):
            if self._args[0] >= rank:
                raise RuntimeError("can't start new thread")
            super().start()

    return Refused


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("given", [1, 2])
@pytest.mark.parametrize(
    ("partial_parameters", "flop"),
    [(0, 1.0), (1 << 16, 1.0), (0, 1e30)],
    ids=["rows and outputs", "stretches", "validation beside"],
)
def test_where_fewer_threads_are_to_be_had_these_compute_the_same_bits(
    monkeypatch, partial_parameters, flop, given, dtype
):
    data = SMALL.data(dtype, 100, 1300) if flop > 1 else SMALL.data(dtype, 1000, 300)
    expected = train(SMALL.build(dtype), data, 2, 800, by_modules=True)
    monkeypatch.setattr(threads, "FLOP_PER_THREAD", flop)
    monkeypatch.setattr(parallelism, "_FLOP_BESIDE", 0.0)
    monkeypatch.setattr(threads, "Thread", refused_from(given))
    monkeypatch.setattr(parallelism, "_CHUNK_PARAMETERS", partial_parameters)
    fastbp.set_num_threads(3)

    def work():
        assert_same_bits(expected, train(SMALL.build(dtype), data, 2, 800))
        assert threading.active_count() == 1, "what was started has ended"

    assert_survives(work)


@pytest.mark.parametrize("given", [1, 2])
def test_predictions_go_on_where_fewer_threads_are_to_be_had(monkeypatch, given):
    model, x = SMALL.build(numpy.float32), draw((1000, 4), numpy.float32)
    expected = model.predict(x)
    for module in (threads, predictor):
        monkeypatch.setattr(module, "FLOP_PER_START", 1.0)
    monkeypatch.setattr(threads, "Thread", refused_from(given))
    fastbp.set_num_threads(3)
    numpy.testing.assert_array_equal(model.predict(x), expected)


def test_a_training_starts_its_threads_once_and_none_outlives_it(eager_threads):
    fastbp.set_num_threads(3)
    calls = []
    train(SMALL.build(numpy.float32), SMALL.data(numpy.float32, 600), 40, 600, progress=calls.append)
    assert len(calls) >= 40
    assert len(eager_threads) == 2
    assert not any(thread.is_alive() for thread in eager_threads)


def test_the_threads_of_a_team_leave_its_core_to_the_first():
    cores = {}

    def note(rank, ranks):
        cores[rank] = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(ranks))

    threads.run_ranks(3, note)
    assert set(cores) == {0, 1, 2}
    assert cores[1] == cores[2]
    assert len(cores[0] - cores[1]) == (len(cores[0]) > 1), "the first may run anywhere"


def test_an_interrupt_at_a_teams_end_leaves_no_thread(monkeypatch):
    started = []

    class Interrupted(threading.Thread):
        def start(self):
            started.append(self)
            super().start()

        def join(self, timeout=None):
            signal.raise_signal(signal.SIGINT)
            super().join(timeout)

    monkeypatch.setattr(threads, "Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        threads.run_ranks(3, lambda rank, ranks: None)
    assert [thread.is_alive() for thread in started] == [False, False]


def test_the_threads_of_a_team_that_never_ended_end_with_it(eager_threads):
    team = threads.Team(3)
    team.run(lambda rank, ranks: None)
    del team
    for thread in eager_threads:
        thread.join(30)
    assert [thread.is_alive() for thread in eager_threads] == [False, False]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_what_a_rank_raises_comes_out_of_its_team(failing):
    seen = []

    def fail(rank, ranks):
        if rank == failing:
            raise MemoryError(f"rank {rank}")

    with pytest.raises(MemoryError, match=f"rank {failing}"):
        threads.run_ranks(3, fail)
    with threads.Team(3) as team:
        if failing:
            with pytest.raises(MemoryError, match=f"rank {failing}"):
                team.run(fail)
        team.run(lambda rank, ranks: seen.append((rank, ranks)))
    assert sorted(seen) == [(0, 3), (1, 3), (2, 3)]


def test_a_team_computes_where_cores_may_not_be_asked_for(monkeypatch):
    def forbidden(*arguments):
        raise PermissionError("a sandbox")

    ranks_seen = []
    for name in ("sched_getaffinity", "sched_setaffinity"):
        monkeypatch.setattr(os, name, forbidden, raising=False)
    threads.run_ranks(2, lambda rank, ranks: ranks_seen.append(rank))
    assert sorted(ranks_seen) == [0, 1]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_team_may_begin_again_after_its_end_and_in_a_forked_process():
    ranks_seen = []
    team = threads.Team(2)

    def call():
        ranks_seen.clear()
        team.run(lambda rank, ranks: ranks_seen.append((rank, ranks)))
        assert sorted(ranks_seen) == [(0, 2), (1, 2)]

    with team:
        call()
        call()
    with team:
        call()
        assert_survives(call)
        call()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_trains_after_its_parent_has_trained_with_threads():
    fastbp.set_num_threads(2)
    data = LARGE.data(numpy.float32, 300, 50)
    expected = train(LARGE.build(numpy.float32), data, 1, 256)

    def work():
        assert_same_bits(expected, train(LARGE.build(numpy.float32), data, 1, 256))

    assert_survives(work)

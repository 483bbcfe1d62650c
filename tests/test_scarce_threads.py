"""Where the system gives no thread, or a program gives threads little stack memory, all is computed all the same.

A container limits a user's processes and threads, and a thread that is asked for then is "can't start new thread".
Python 3.12 gives none any more when the interpreter is at its end, in functions of ``atexit``.
"""

import subprocess
import sys
import threading

import numpy
import pytest
from helpers import child_environment
from memory import assert_survives
from same_bits import assert_same_bits, outcome
from test_forks import storing
from test_late_function import storing as storing_late
from test_train_models import job_of

import fastbp
from fastbp.runtime.crew import share_out
from fastbp.runtime.threads import run_ranks
from fastbp_kernels.compiler.stack_size import start_with_stack


@pytest.fixture
def given(monkeypatch):
    """A list of one number: how many threads the system still gives."""
    left, start = [0], threading.Thread.start

    def scarce(thread):
        if left[0] == 0:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    return left


@pytest.fixture
def nothing_is_kept(monkeypatch):
    monkeypatch.setattr("fastbp_kernels.compiler.cache._Store.folders", lambda self: [])


@pytest.fixture
def three_threads():
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(3)
    yield
    fastbp.set_num_threads(before)


@pytest.mark.usefixtures("given", "nothing_is_kept")
def test_kernels_and_what_they_call_late_are_compiled_without_a_thread():
    out = numpy.zeros(1)
    storing(3.0)(out)
    assert out[0] == 3
    run, compiled = storing_late("without_a_thread", 4.0)
    run(out)
    assert (out[0], compiled) == (4, ["double"])


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_work_is_shared_out_to_the_threads_that_there_are(given, number):
    given[0], workers = number, set()

    def work(piece):
        workers.add(threading.get_ident())
        gate.wait()

    gate = threading.Barrier(max(1, number))
    assert sorted(share_out(range(6), 3, work)) == list(range(6))
    assert len(workers) == max(1, number)
    assert (threading.get_ident() in workers) == (number == 0)


def test_a_crew_of_nobody_ends_where_its_caller_ends_it(given):
    done = []
    work = share_out(range(6), 3, done.append)
    assert next(work) == 0
    work.close()
    assert done == [0]


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("number", [0, 1])
def test_many_trainings_need_no_thread_of_their_own(given, number):
    jobs = [job_of(seed=seed) for seed in range(4)]
    expected = [outcome(job.model, fastbp.train_models([job])[0]) for job in (job_of(seed=seed) for seed in range(4))]
    given[0] = number
    histories = fastbp.train_models(jobs)
    for job, history, other in zip(jobs, histories, expected, strict=True):
        assert_same_bits(other, outcome(job.model, history))


AT_EXIT = """
import atexit, numpy, fastbp_kernels
def last_words():
    y = numpy.empty(3, "float32")
    fastbp_kernels.relu_forward(numpy.array([-1, 0, 2], "float32"), y)
    print(y.tolist())
atexit.register(last_words)
"""


def test_kernels_are_compiled_when_the_interpreter_is_at_its_end(tmp_path):
    environment = child_environment(FASTBP_CACHE_DIR=str(tmp_path / "cache"))
    done = subprocess.run([sys.executable, "-c", AT_EXIT], env=environment, capture_output=True, text=True)
    assert done.stdout == "[0.0, 0.0, 2.0]\n", done.stderr


def use_stack(*_):
    """Take some 100 KiB of stack memory: ``sum`` and ``map`` are functions of C."""

    def descend(depth):
        return sum(map(descend, [depth - 1])) if depth else 1

    assert descend(150) == 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("nothing_is_kept")
@pytest.mark.parametrize(
    "work",
    [
        lambda: storing(5.0, use_stack)(numpy.zeros(1)),
        lambda: run_ranks(3, use_stack),
        lambda: list(share_out(range(3), 3, use_stack)),
    ],
    ids=["compiling", "a team", "a crew"],
)
def test_threads_have_the_stack_memory_that_they_need_whatever_the_program_gives_its_own(work):
    def in_a_program_of_small_threads():
        small = 64 << 10
        threading.stack_size(small)
        for _ in range(2):
            work()
            assert threading.stack_size(small) == small

    assert_survives(in_a_program_of_small_threads)


def test_a_program_that_gives_its_threads_more_or_the_default_keeps_that():
    sizes = []
    for size in (0, 64 << 20):
        before, thread = threading.stack_size(size), threading.Thread(target=sizes.append, args=(size,))
        try:
            start_with_stack(thread)
            thread.join()
        finally:
            assert threading.stack_size(before) == size
    assert sizes == [0, 64 << 20]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("nothing_is_kept")
def test_a_small_thread_of_the_programs_may_compile():
    def in_a_small_thread():
        out = numpy.zeros(1)
        threading.stack_size(64 << 10)
        thread = threading.Thread(target=storing(6.0, use_stack), args=(out,))
        thread.start()
        thread.join()
        assert out[0] == 6

    assert_survives(in_a_small_thread)

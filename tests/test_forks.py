"""A process that forks while one of its threads compiles, as servers and pools do: the child compiles and trains."""

import os
import signal
import threading
import time

import numba
import numpy
import pytest
from memory import assert_survives
from numba import types

from fastbp_kernels.compiler.decorators import kernel
from fastbp_kernels.compiler.forks import hold_around_forks
from fastbp_kernels.compiler.intrinsics import intrinsic

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch):
    monkeypatch.setattr("fastbp_kernels.compiler.cache._Store.folders", lambda self: [])


def storing(number, meanwhile=lambda: None):
    """A kernel that stores a number, and calls ``meanwhile`` when it is compiled."""

    @intrinsic
    def note(typing_context):
        def codegen(context, builder, signature, arguments):
            meanwhile()
            return context.get_dummy_value()

        return types.void(), codegen

    @kernel
    def store(out):
        note()
        out[0] = number

    return store


def compile_and_run(number):
    """Compile a kernel, and a function by numba itself in the main thread."""
    out = numpy.zeros(1)
    storing(number)(out)
    assert out[0] == number
    assert numba.njit(lambda x: x + 1)(number) == number + 1


def test_a_fork_waits_for_a_thread_that_compiles_and_its_child_compiles_too():
    begun = threading.Event()

    def take_long():
        begun.set()
        time.sleep(0.5)

    out = numpy.zeros(1)
    compiling = threading.Thread(target=storing(3.0, take_long), args=(out,))
    compiling.start()
    assert begun.wait(30)
    assert_survives(compile_and_run, 4.0)
    compiling.join()
    assert out[0] == 3
    compile_and_run(5.0)


def test_a_fork_after_a_ctrl_c_that_left_the_compiler_at_work_has_a_child_that_compiles():
    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)

    with pytest.raises(KeyboardInterrupt):
        storing(6.0, interrupt)(numpy.zeros(1))
    assert_survives(compile_and_run, 7.0)
    compile_and_run(8.0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_wait_that_ctrl_c_ends_leaves_the_childs_lock_free_and_the_parents_held():
    """The system forks all the same, and Python prints the interrupt, which it cannot hand to anybody."""
    lock = threading.Lock()
    hold_around_forks([lock])
    with lock:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        assert_survives(lambda: lock.acquire(timeout=1) or pytest.fail("held by nobody"))
        timer.join()
        assert lock.locked()
    assert_survives(lambda: lock.acquire(timeout=1) or pytest.fail("held by nobody"))
    assert not lock.locked()

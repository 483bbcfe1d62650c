"""Ctrl-C: soon, at a finished mini-batch, and the training goes on as if nothing had been."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy
import pytest
from helpers import child_environment
from same_bits import Network, OwnSGD, assert_same_bits, train
from test_resume import outcome

import fastbp
from fastbp import nn, optim
from fastbp.runtime import threads

SMALL = Network((4, 9, 3), ("Tanh", None))
LARGE = Network((60, 64, 3), ("Tanh", None))


class CtrlC:
    """Sends this process SIGINT so many seconds after ``with`` begins, unless it has ended before.

    If nothing comes of it, because Python ran a finaliser just then, another one lets the test fail instead of hang.
    """

    def __init__(self, seconds):
        self._seconds, self._begun, self._over = seconds, threading.Event(), threading.Event()
        self._timer = threading.Thread(target=self._send)

    def _send(self):
        self._begun.wait()
        if not self._over.wait(self._seconds):
            self.sent = time.perf_counter()
            os.kill(os.getpid(), signal.SIGINT)
            if not self._over.wait(60):
                os.kill(os.getpid(), signal.SIGINT)

    def __enter__(self):
        self._timer.start()
        self._begun.set()  # not while this thread still waits for the other one's start
        return self

    def __exit__(self, *error):
        self._over.set()
        self._timer.join()
        time.sleep(0)  # a signal that has just been sent comes here and not later


def run_interrupted(network, epochs, size, rows, gaps, *, by_modules, val=20):
    """Train to the end through interrupts, one after each of the gaps in seconds; return outcome, stops and waits."""
    data, rng = network.data(numpy.float32, rows, val), numpy.random.default_rng(5)
    model, history = network.build(numpy.float32), fastbp.History()
    opt = (OwnSGD if by_modules else optim.SGD)(model.parameters(), lr=0.05)
    stops, waits = [], []
    train(network.build(numpy.float32), data, 1, size, by_modules=by_modules)  # has everything compiled
    for gap in gaps:
        with pytest.raises(fastbp.TrainingInterrupted) as interrupt, CtrlC(gap) as sender:
            fastbp.train_model(model, *data, nn.MSELoss(), opt, epochs, size, shuffle=True, rng=rng, history=history)
        waits.append(time.perf_counter() - sender.sent)
        assert interrupt.value.history is history
        stops.append((history.epochs, history.position.batches))
    fastbp.train_model(model, *data, nn.MSELoss(), opt, stops[-1][0] + 3, size, shuffle=True, rng=rng, history=history)
    expected = train(
        network.build(numpy.float32), data, stops[-1][0] + 3, size, by_modules=by_modules, shuffle=True, rng=5
    )
    assert_same_bits(expected, outcome(model, history))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return stops, waits


@pytest.mark.parametrize("by_modules", [False, True], ids=["engine", "module by module"])
def test_a_training_goes_on_from_any_number_of_interrupts(by_modules):
    gaps = [0.003 + 0.0042 * k for k in range(10)]
    stops, waits = run_interrupted(SMALL, 10**7, 7, 40, gaps, by_modules=by_modules)
    assert stops == sorted(stops)
    assert any(batches for _, batches in stops), "within an epoch"
    assert sorted(waits)[len(waits) // 2] < 0.2


def test_threads_do_not_change_that(monkeypatch):
    monkeypatch.setattr(threads, "FLOP_PER_THREAD", 1.0)
    before = fastbp.get_num_threads()
    fastbp.set_num_threads(2)
    _, waits = run_interrupted(LARGE, 10**7, 300, 900, [0.02 + 0.011 * k for k in range(8)], by_modules=False)
    fastbp.set_num_threads(before)
    assert sorted(waits)[len(waits) // 2] < 0.2


def test_the_text_tells_where_it_stopped_and_how_to_go_on():
    history = fastbp.History()
    assert str(fastbp.TrainingInterrupted(history)).startswith("the training stopped after 0 epochs; ")
    history.position.batches = 3
    text = str(fastbp.TrainingInterrupted(history))
    assert "after 0 epochs and 3 mini-batches; the same call with history=" in text


def small_training(progress=None, model=None, epochs=10**7, **options):
    model = model or SMALL.build(numpy.float32)
    data = SMALL.data(numpy.float32, 40)
    opt = optim.SGD(model.parameters(), lr=0.05)
    return fastbp.train_model(model, *data, nn.MSELoss(), opt, epochs, 7, progress=progress, **options)


def test_a_callback_and_a_module_that_take_long_are_interrupted_at_once():
    class Sleepy(nn.ReLU):
        def forward(self, input):
            time.sleep(30)

    for arguments in (
        {"progress": lambda history: time.sleep(30)},
        {"model": nn.Sequential(nn.Linear(4, 3), Sleepy())},
    ):
        with pytest.raises(KeyboardInterrupt), CtrlC(0.05) as sender:
            small_training(**arguments)
        assert time.perf_counter() - sender.sent < 2


@pytest.mark.parametrize("by_modules", [False, True])
def test_a_handler_of_the_users_own_is_called_and_decides(by_modules):
    came = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        data, model = SMALL.data(numpy.float32, 40), SMALL.build(numpy.float32)
        with CtrlC(0.01):
            outcome = train(model, data, 3000 if by_modules else 30000, 7, by_modules=by_modules)
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == [signal.SIGINT]
    assert outcome.history.epochs >= 3000


def test_an_ignored_interrupt_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with CtrlC(0.01):
            assert small_training(epochs=10000).epochs == 10000
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_training_in_another_thread_goes_on_while_the_main_one_is_interrupted():
    results = []
    worker = threading.Thread(target=lambda: results.append(small_training(epochs=10000)))
    worker.start()
    with pytest.raises(KeyboardInterrupt) as interrupt, CtrlC(0.01):
        time.sleep(5)
    worker.join()
    assert interrupt.type is KeyboardInterrupt
    assert results[0].epochs == 10000


SETUP = """
import fastbp, numpy
from fastbp import nn, optim
x = numpy.ones((40, 4), numpy.float32)
model = nn.Sequential(nn.Linear(4, 3))
opt = optim.SGD(model.parameters(), lr=1e-3)
history = fastbp.History()
def train(epochs):
    print("begins", flush=True)
    fastbp.train_model(model, x, x[:, :3], None, None, nn.MSELoss(), opt, epochs, 7, history=history, progress=False)
train(1)
"""
SESSION = SETUP + "import code; code.interact(banner='', exitmsg='', local=globals())"


def test_a_session_goes_on_after_ctrl_c():
    """The interpreter's prompt, as a terminal's user has it."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", SESSION], env=child_environment(), text=True, **pipes) as session:
        end = threading.Timer(60, session.kill)
        end.start()
        assert session.stdout.readline() == "begins\n"
        session.stdin.write("train(10**9)\n")
        session.stdin.flush()
        assert session.stdout.readline().endswith("begins\n")
        time.sleep(0.3)
        session.send_signal(signal.SIGINT)
        rest = "stopped = history.epochs\ntrain(stopped + 5)\nprint('then', history.epochs - stopped)\n"
        output, errors = session.communicate(rest)
        end.cancel()
    assert "then 5" in output, errors
    assert "TrainingInterrupted: the training stopped after" in errors


def test_a_notebook_goes_on_after_its_kernel_is_interrupted():
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", env=child_environment(), startup_timeout=60)
    try:
        client.execute_interactive(SETUP, timeout=60)
        client.execute("train(10**9)")
        time.sleep(0.5)
        start = time.perf_counter()
        manager.interrupt_kernel()
        shell = client.get_shell_msg(timeout=30)["content"]
        while shell["status"] != "error":
            shell = client.get_shell_msg(timeout=30)["content"]
        assert time.perf_counter() - start < 2
        assert shell["ename"] == "TrainingInterrupted"
        time.sleep(1)  # the kernel refuses what it is sent right behind an error
        reply = client.execute_interactive("stopped = history.epochs; train(stopped + 5)", timeout=60)
        assert reply["content"]["status"] == "ok"
        reply = client.execute_interactive("assert history.epochs == stopped + 5 > 10", timeout=60)
        assert reply["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

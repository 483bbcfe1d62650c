"""An exception at every instruction of every call, in this thread and in others: no lock stays, no parameter is lost.

python tests/soak/interrupts.py --count 10000

Each call is run again and again, with a KeyboardInterrupt at its first traced instruction, its second, and so on until
it comes through. After each one another thread uses the model.
"""

from __future__ import annotations

import argparse
import copy
import json
import pickle
import sys
import tempfile
import threading
from pathlib import Path

import numpy

import fastbp
from fastbp import nn, optim

FASTBP = str(Path(fastbp.__file__).parent)
X, TARGET = numpy.linspace(-1, 1, 24, dtype="f4").reshape(6, 4), numpy.linspace(0, 1, 18, dtype="f4").reshape(6, 3)
FOLDER = Path(tempfile.mkdtemp())


class OwnReLU(nn.ReLU):
    """A module that the compiled calls do not know."""


class Subject:
    """A model with all that is called on it."""

    def __init__(self, known=True):
        act = nn.ReLU() if known else OwnReLU()
        self.model = nn.Sequential(nn.Linear(4, 5, rng=0), act, nn.Linear(5, 3, rng=1))
        self.opt, self.criterion = optim.SGD(self.model.parameters(), lr=0.1), nn.MSELoss()
        self.criterion(self.model(X), TARGET)
        self.gradient = self.criterion.backward()

    def use(self):
        """What another thread does with it afterwards."""
        self.model.float()  # after a conversion that was stopped, all of it again
        self.model.state_dict()
        self.model.predict(X)
        self.criterion(self.model(X), TARGET)
        self.model.backward(self.criterion.backward())
        self.opt.zero_grad()
        self.model.zero_grad()
        self.opt.step()

    def numbers(self):
        return [parameter.data.copy() for parameter in self.model.parameters()]

    def train(self, **options):
        fastbp.train_model(self.model, X, TARGET, X, TARGET, nn.MSELoss(), self.opt, 1, 4, progress=False, **options)


CALLS = {
    "zero_grad": lambda s: s.model.zero_grad(),
    "zero_grad of the optimizer": lambda s: s.opt.zero_grad(),
    "step": lambda s: s.opt.step(),
    "state_dict": lambda s: s.model.state_dict(),
    "load_state_dict": lambda s: s.model.load_state_dict({n: v + 1 for n, v in s.model.state_dict().items()}),
    "forward": lambda s: s.model(X),
    "backward": lambda s: s.model.backward(s.gradient),
    "backward_parameters": lambda s: s.model.backward_parameters(s.gradient),
    "predict": lambda s: s.model.predict(X),
    "loss": lambda s: s.criterion(s.model(X), TARGET),
    "train_model": Subject.train,
    "train_model by blocks": lambda s: fastbp.train_model(
        s.model, fastbp.RowBlocks(lambda: [(X, TARGET)]), None, None, None, nn.MSELoss(), s.opt, 1, 4, progress=False
    ),
    "train_model that stops early": lambda s: s.train(metrics=["mae"], early_stopping=fastbp.EarlyStopping(1)),
    "jacobian": lambda s: fastbp.jacobian(s.model, X),
    "save": lambda s: fastbp.save(FOLDER / "model.safetensors", s.model, s.opt),
    "deepcopy": lambda s: copy.deepcopy(s.model),
    "pickle": lambda s: pickle.dumps((s.model, s.opt)),
    "Sequential": lambda s: nn.Sequential(s.model, nn.Linear(3, 2, rng=0)),
    "double": lambda s: s.model.double(),
}
# Parameter by parameter, mini-batch by mini-batch.
CHANGE_IN_STEPS = {"load_state_dict", *(name for name in CALLS if name.startswith("train_model"))}


def interrupted(call, at):
    """Run ``call`` with an exception at the traced instruction ``at``; return whether it came."""
    seen = 0

    def trace(frame, event, argument):
        if not frame.f_code.co_filename.startswith(FASTBP):
            return None
        frame.f_trace_opcodes = True
        return trace_here

    def trace_here(frame, event, argument):
        nonlocal seen
        if event == "opcode":
            seen += 1
            if seen > at:
                raise KeyboardInterrupt
        return trace_here

    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def in_a_thread(work, stays):
    """Run ``work`` in a thread; return its result, and what ends the thread if it stays."""
    results, over, done = [], threading.Event(), threading.Event()

    def run():
        try:
            results.append(work())
        except BaseException as error:
            results.append(error)
        done.set()
        if stays:
            over.wait()

    worker = threading.Thread(target=run)
    worker.start()
    done.wait()
    if not stays:
        worker.join()
    return results[0], lambda: (over.set(), worker.join())


def check(name, known, where, at):
    """Interrupt one call at one instruction; return whether it was still running."""
    subject, other = Subject(known), Subject(known)
    before = subject.numbers()
    CALLS[name](other)
    after = other.numbers()

    def call():
        return interrupted(lambda: CALLS[name](subject), at)

    came, end = (call(), lambda: None) if where == "here" else in_a_thread(call, stays=where == "parked")
    if isinstance(came, BaseException):
        raise came
    for number, (now, old, new) in enumerate(zip(subject.numbers(), before, after, strict=True)):
        whole = any(numpy.array_equal(now, each) for each in (old, new))
        assert whole or name in CHANGE_IN_STEPS, f"{name}, instruction {at}: parameter {number} is neither old nor new"
        assert numpy.isfinite(now).all()
    error, _ = in_a_thread(subject.use, stays=False)
    end()
    if error is not None:
        raise AssertionError(f"{name} ({where}), instruction {at}: {error!r}") from error
    return came


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="interrupts at the least")
    parser.add_argument("--stride", type=int, default=1, help="instructions from one interrupt to the next")
    chosen = parser.parse_args()
    for known in (True, False):
        for name in CALLS:
            check(name, known, "here", 10**9)  # has everything compiled
    interrupts, first = 0, 0
    while interrupts < chosen.count:
        for known in (True, False):
            for name in CALLS:
                for where in ("here", "parked", "ended"):
                    at = first
                    while check(name, known, where, at):
                        interrupts += 1
                        at += chosen.stride
        first += 1
        if first == chosen.stride:
            break
    print(json.dumps({"interrupts": interrupts, "calls": len(CALLS)}))


if __name__ == "__main__":
    main()

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
from itertools import product
from pathlib import Path

import numpy

import fastbp
from fastbp import nn, optim

FASTBP = str(Path(fastbp.__file__).parent)
X, TARGET = numpy.linspace(-1, 1, 24, dtype="f4").reshape(6, 4), numpy.linspace(0, 1, 18, dtype="f4").reshape(6, 3)
FOLDER = Path(tempfile.mkdtemp())


class OwnReLU(nn.ReLU):
    """A module that the compiled calls do not know."""


def _plain(activation):
    model = nn.Sequential(nn.Linear(4, 5, rng=0), activation, nn.Linear(5, 3, rng=1))
    return model, optim.SGD(model.parameters(), lr=0.1), nn.MSELoss()


def _with_layers():
    """Layers with statistics and counts, an optimiser with state and two groups."""
    model = nn.Sequential(
        nn.Linear(4, 5, rng=0), nn.BatchNorm1d(5), nn.GELU(), nn.Dropout(0.2, rng=3),
        nn.Residual(nn.Linear(5, 7, rng=1), nn.PReLU(7), nn.Linear(7, 5, rng=2)), nn.LayerNorm(5),
        nn.Linear(5, 3, rng=4), nn.LogSoftmax(-1),
    )  # fmt: skip
    first, *others = model.parameters()
    return model, optim.AdamW([{"params": [first], "lr": 0.2}, {"params": others}], lr=0.1), nn.KLDivLoss()


# Each returns a model, its optimiser and its loss.
KINDS = {
    "the library's": lambda: _plain(nn.ReLU()),
    "one of the user's": lambda: _plain(OwnReLU()),
    "with layers": _with_layers,
}


class Subject:
    """A model with all that is called on it."""

    def __init__(self, kind):
        self.model, self.opt, self.criterion = KINDS[kind]()
        self.scheduler = optim.lr_scheduler.OneCycleLR(self.opt, 0.2, 20, cycle_momentum=False)
        self.criterion(self.model(X), TARGET)
        self.gradient = self.criterion.backward()
        self.file = FOLDER / f"{kind}.safetensors"
        if not self.file.exists():
            fastbp.save(self.file, self.model, self.opt, None, self.scheduler)

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
        self.opt.state_dict()
        self.scheduler.step()

    def numbers(self):
        return [values.copy() for values in self.model.state_dict().values()]

    def train(self, **options):
        fastbp.train_model(self.model, X, TARGET, X, TARGET, self.criterion, self.opt, 1, 4, progress=False, **options)

    def learn(self):
        for start in (0, 2, 4):
            rows = X[start : start + 2], TARGET[start : start + 2]
            fastbp.train_model(self.model, *rows, None, None, self.criterion, self.opt, 1, 2, progress=False)

    def train_with_all_options(self):
        weights = numpy.linspace(0, 1, 6, dtype="f4")
        self.train(
            sample_weight=weights, val_sample_weight=weights, shuffle=True, rng=0, clip_grad_norm=0.1,
            scheduler=self.scheduler, scheduler_interval="batch", metrics=["mae"], max_seconds=60,
            early_stopping=fastbp.EarlyStopping(1),
        )  # fmt: skip


CALLS = {
    "zero_grad": lambda s: s.model.zero_grad(),
    "zero_grad of the optimizer": lambda s: s.opt.zero_grad(),
    "step": lambda s: s.opt.step(),
    "step of the schedule": lambda s: s.scheduler.step(),
    "clip_grad_norm_": lambda s: nn.utils.clip_grad_norm_(s.model.parameters(), 0.1),
    "clip_grad_value_": lambda s: nn.utils.clip_grad_value_(s.model.parameters(), 0.1),
    "state_dict": lambda s: s.model.state_dict(),
    "load_state_dict": lambda s: s.model.load_state_dict({n: v + 1 for n, v in s.model.state_dict().items()}),
    "load_state_dict of the optimizer": lambda s: s.opt.load_state_dict(s.opt.state_dict()),
    "eval and train": lambda s: s.model.eval().train(),
    "forward": lambda s: s.model(X),
    "backward": lambda s: s.model.backward(s.gradient),
    "backward_parameters": lambda s: s.model.backward_parameters(s.gradient),
    "predict": lambda s: s.model.predict(X),
    "loss": lambda s: s.criterion(s.model(X), TARGET),
    "train_model": Subject.train,
    "train_model again and again": Subject.learn,
    "train_model by blocks": lambda s: fastbp.train_model(
        s.model, fastbp.RowBlocks(lambda: [(X, TARGET)]), None, None, None, s.criterion, s.opt, 1, 4, progress=False
    ),
    "train_model with all options": Subject.train_with_all_options,
    "jacobian": lambda s: fastbp.jacobian(s.model.eval(), X),
    "save": lambda s: fastbp.save(FOLDER / "model.safetensors", s.model, s.opt, None, s.scheduler),
    "load": lambda s: fastbp.load(s.file, s.model, s.opt, s.scheduler),
    "deepcopy": lambda s: copy.deepcopy(s.model),
    "pickle": lambda s: pickle.dumps((s.model, s.opt, s.scheduler)),
    "Sequential": lambda s: nn.Sequential(s.model, nn.Linear(3, 2, rng=0)),
    "double": lambda s: s.model.double(),
}
PLACES = ("here", "parked", "ended")  # where a call runs, in turn: in this thread, one that stays, one that ends
# Parameter by parameter, mini-batch by mini-batch.
CHANGE_IN_STEPS = {"load", "load_state_dict", *(name for name in CALLS if name.startswith("train_model"))}


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


def check(name, kind, where, at):
    """Interrupt one call at one instruction; return whether it was still running."""
    subject, other = Subject(kind), Subject(kind)
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
        assert whole or name in CHANGE_IN_STEPS, f"{name} {kind}, instruction {at}: array {number} is torn"
        assert numpy.isfinite(now).all()
    error, _ = in_a_thread(subject.use, stays=False)
    end()
    if error is not None:
        raise AssertionError(f"{name} {kind} ({where}), instruction {at}: {error!r}") from error
    return came


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="interrupts at the least")
    parser.add_argument("--stride", type=int, default=1, help="instructions from one interrupt to the next")
    chosen = parser.parse_args()
    for kind in KINDS:
        for name in CALLS:
            check(name, kind, "here", 10**9)  # has everything compiled
    interrupts, first = 0, 0
    while interrupts < chosen.count and first < chosen.stride:
        for kind, name in product(KINDS, CALLS):
            at = first
            while check(name, kind, PLACES[interrupts % len(PLACES)], at):
                interrupts += 1
                at += chosen.stride
        first += 1
    print(json.dumps({"interrupts": interrupts, "calls": len(CALLS)}))


if __name__ == "__main__":
    main()

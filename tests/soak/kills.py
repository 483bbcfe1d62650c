"""Kill a process that trains and saves, again and again: every time a whole checkpoint loads and goes on.

    python tests/soak/kills.py --kills 1000

The victim saves after every epoch. After each kill this process loads what is there, compares it with the uninterrupted
training at that epoch, and starts the next victim, which goes on from the file; a training that comes to its end is
compared bit for bit and begun anew.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy

import fastbp
from fastbp import nn, optim

EPOCHS = 150
rng = numpy.random.default_rng(0)
X = rng.standard_normal((300, 20)).astype(numpy.float32)
TARGET = rng.standard_normal((300, 3)).astype(numpy.float32)
VAL = X[:20] + numpy.float32(0.5), TARGET[:20]


class State(NamedTuple):
    """All that a training consists of."""

    model: nn.Module
    opt: optim.Optimizer
    history: fastbp.History
    scheduler: optim.lr_scheduler.LRScheduler


def begin():
    first, last = nn.Linear(20, 64, rng=1), nn.Linear(64, 3, rng=2)
    model = nn.Sequential(first, nn.Tanh(), last)
    first.bias.requires_grad = False
    opt = optim.NAdam([{"params": first.parameters(), "lr": 0.002}, {"params": last.parameters()}], lr=0.001)
    return State(model, opt, fastbp.History(), optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, 100))


def read(path):
    state = begin()
    return state._replace(history=fastbp.load(path, state.model, state.opt, state.scheduler).history)


def go_on(state, after_epoch):
    fastbp.train_model(
        state.model, X, TARGET, *VAL, nn.MSELoss(), state.opt, EPOCHS, 7, shuffle=True, rng=3, history=state.history,
        progress=after_epoch, metrics=["mae"], early_stopping=fastbp.EarlyStopping(EPOCHS), scheduler=state.scheduler,
        scheduler_interval="batch", clip_grad_norm=0.5,
    )  # fmt: skip


def victim(path):
    state = read(path) if path.exists() else begin()
    go_on(state, lambda history: fastbp.save(path, *state))


def bits(model):
    return b"".join(parameter.data.tobytes() for parameter in model.parameters())


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=1000)
    kills = options.parse_args().kills

    whole, expected = begin(), [bits(begin().model)]
    go_on(whole, lambda history: expected.append(bits(whole.model)))
    left_over = finished = loaded = advanced = done = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.safetensors"
        epoch = 0
        while done < kills:
            child = os.fork()  # quick, and with everything compiled: no threads have been started here
            if child == 0:
                victim(path)
                os._exit(0)
            time.sleep(random.uniform(0, 0.25))
            os.kill(child, signal.SIGKILL)
            done += os.WIFSIGNALED(os.waitpid(child, 0)[1])
            left_over += any(file.suffix == ".fastbp-tmp" for file in Path(folder).iterdir())
            if not path.exists():
                assert epoch == 0, "a checkpoint has gone"
                continue
            state = read(path)
            assert state.history.epochs >= epoch, "an epoch was lost"
            advanced += state.history.epochs > epoch
            epoch = state.history.epochs
            assert bits(state.model) == expected[epoch], f"other bits after epoch {epoch}"
            for name, values in state.history.items():
                assert values == whole.history[name][:epoch], name
            assert state.history.best_epoch == 1 + numpy.argmin(whole.history["val_loss"][:epoch])
            loaded += 1
            if epoch == EPOCHS:
                finished += 1
                path.unlink()
                epoch = 0
        files = list(Path(folder).iterdir())
    assert len(files) <= 2, files
    print(
        f"{done} kills: {loaded} loads of a whole checkpoint, {advanced} of a new epoch, {left_over} saves cut off "
        f"and cleaned up, {finished} trainings finished with the same bits"
    )


if __name__ == "__main__":
    sys.exit(main())

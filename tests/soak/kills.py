"""Kill a process that trains and saves, again and again: every time a whole checkpoint loads and goes on.

    PYTHONPATH=tests python tests/soak/kills.py --kills 1000

The trainings are drawn (``recipes``), one after the other. The victim saves after every epoch. After each kill this
process loads what is there, compares it with the uninterrupted training at that epoch, and starts the next victim,
which goes on from the file. A training that comes to its end is compared bit for bit, and the next one is drawn.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy
from recipes import Recipe

import fastbp

EPOCHS = 20


def begin(seed):
    return Recipe(seed).begin(EPOCHS)


def read(path, seed):
    """The training as the file has it, in the objects of a new one."""
    training = begin(seed)
    history = fastbp.load(path, training.model, training.opt, training.scheduler).history
    return training._replace(history=history)


def victim(path, seed):
    training = read(path, seed) if path.exists() else begin(seed)
    parts = training.model, training.opt, training.history, training.scheduler
    training.train(EPOCHS, progress=lambda history: fastbp.save(path, *parts))


def bits(training):
    """All parameters and running statistics."""
    return b"".join(value.tobytes() for value in training.model.state_dict().values())


def killed(path, seed):
    """Let a process train for a while and kill it; say whether it was still at work."""
    child = os.fork()  # quick, and with everything compiled: no threads have been started here
    if child == 0:
        victim(path, seed)
        os._exit(0)
    time.sleep(random.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def go_through(seed, path, kills, counts):
    """Kill this training until it is at its end, or there were enough kills."""
    whole, expected = begin(seed), [bits(begin(seed))]
    whole.train(EPOCHS, progress=lambda history: expected.append(bits(whole)))
    epoch = 0
    while epoch < EPOCHS and counts["kills"] < kills:
        counts["kills"] += killed(path, seed)
        counts["left over"] += any(file.suffix == ".fastbp-tmp" for file in path.parent.iterdir())
        if not path.exists():
            assert epoch == 0, "a checkpoint has gone"
            continue
        training = read(path, seed)
        assert training.history.epochs >= epoch, "an epoch was lost"
        counts["advanced"] += training.history.epochs > epoch
        epoch = training.history.epochs
        assert bits(training) == expected[epoch], f"recipe {seed}: other bits after epoch {epoch}"
        for name, values in training.history.items():
            numpy.testing.assert_array_equal(values, whole.history[name][:epoch], err_msg=f"recipe {seed}: {name}")
        counts["loaded"] += 1
    counts["finished"] += epoch == EPOCHS
    path.unlink(missing_ok=True)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=1000)
    kills, counts, seed = options.parse_args().kills, Counter(), 0
    fastbp.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        while counts["kills"] < kills:
            go_through(seed, Path(folder) / "training.safetensors", kills, counts)
            seed += 1
        files = list(Path(folder).iterdir())
    assert len(files) <= 1, files
    print(
        f"{counts['kills']} kills of {seed} trainings: {counts['loaded']} loads of a whole checkpoint, "
        f"{counts['advanced']} of a new epoch, {counts['left over']} saves cut off and cleaned up, "
        f"{counts['finished']} trainings finished with the same bits"
    )


if __name__ == "__main__":
    sys.exit(main())

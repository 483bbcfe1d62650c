"""Memory that a process takes over many steps and many models: none that stays, and for a training what is documented.

    PYTHONPATH=tests python tests/soak/growth.py --count 1000000

trains so many steps in the engine, a tenth as many module by module, and makes and drops a hundredth as many models.
"""

from __future__ import annotations

import gc
import resource
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy
from helpers import draw, mlp
from report import Report, last_line, parser, run_python
from same_bits import OwnSGD

import fastbp
from fastbp import nn, optim

KEPT = 256 * 1024  # bytes: the process's own breathing; a leak of one float a step would show after 60,000


def rss():
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def grown(work, times, rounds=4):
    """Call ``work`` in rounds and return how many bytes Python's own and the process's memory grew since the second.

    The least over the rounds: what a single round takes and gives back is no growth.
    """
    python, process = [], []
    tracemalloc.start(1)
    for _ in range(rounds + 1):
        for _ in range(max(1, times // (rounds + 1))):
            work()
        gc.collect()
        python.append(tracemalloc.get_traced_memory()[0])
        process.append(rss())
    tracemalloc.stop()
    return python[-1] - python[1], process[-1] - process[1]


def trains(optimizer, epochs):
    """A training of ``20 * epochs`` steps with validation and shuffling, in one call."""
    model, x, target = mlp(4, 25, 3), draw((200, 4), numpy.float32), draw((200, 3), numpy.float32, seed=1)
    opt, criterion = optimizer(model.parameters(), lr=1e-3), nn.MSELoss()

    def work():
        fastbp.train_model(model, x, target, x[:50], target[:50], criterion, opt, epochs, 10, shuffle=True, rng=0)

    return work


def makes_and_drops():
    """A model with all that a user has of it, once."""
    x = draw((20, 4), numpy.float32)

    def work():
        model, criterion = mlp(4, 25, 3), nn.MSELoss()
        opt = optim.SGD(model.parameters(), lr=0.1)
        criterion(model(x), model.predict(x))
        model.backward(criterion.backward())
        opt.step()
        model.zero_grad()
        fastbp.train_model(model, x, x[:, :3].copy(), None, None, criterion, opt, 1, 10)

    return work


def no_growth(count):
    """Raise AssertionError if memory grows; return the counts."""
    works = {
        "engine_steps": (trains(optim.SGD, 50), 1000, count),
        "module_steps": (trains(OwnSGD, 5), 100, count // 10),
        "models": (makes_and_drops(), 1, count // 100),
    }
    counts = {}
    for name, (work, unit, wanted) in works.items():
        python, process = grown(work, -(-wanted // unit))
        assert max(python, process) < KEPT, f"{name}: Python's memory grew by {python}, the process's by {process}"
        counts[name] = -(-wanted // unit) * unit
        counts[f"{name}_bytes"] = max(python, process, 0)
    return counts


PEAK = """
import ctypes, resource, sys
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of 2 MB would count whole where a part is used
import numpy
from helpers import mlp
from fastbp import nn, optim, train_model, set_num_threads
set_num_threads(int(sys.argv[1]))
widths, n, size = eval(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
model = mlp(*widths)
model.zero_grad()  # so that the gradients, which belong to the model, are in memory already
x, target = numpy.ones((n, widths[0]), "float32"), numpy.ones((n, widths[-1]), "float32")
opt, criterion = optim.SGD(model.parameters(), lr=1e-9), nn.MSELoss()
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
small = mlp(1, 1)
train_model(small, x[:2, :1], x[:2, :1], x[:1, :1], x[:1, :1], criterion, optim.SGD(small.parameters(), lr=0.1), 1, 2)
before = peak()
train_model(model, x, target, x, target, criterion, opt, 1, size)
print(peak() - before)
"""
SLACK = 4 << 20  # bytes: threads, their stacks, what LLVM still allocates


def documented(widths, threads):
    """Bytes that the notes of ``train_model`` allow: rows of twice the outputs and once the inputs, in whole lines."""
    lines = [-(-4 * width // 64) + 1 for width in widths]
    row = 64 * (lines[0] + 2 * sum(lines[1:]))
    parameters = sum((i + 1) * o for i, o in pairwise(widths))
    by_threads = threads * (256 * row + 4 * parameters) if threads > 1 else 0
    return max(512 * row, by_threads)


def peak_is_documented():
    """Raise AssertionError if a training takes more than is documented; return the largest share of it."""
    cases = [(1, (100, 1000, 1000, 10), 2000, 500), (1, (8, 4000, 8), 3000, 3000), (2, (8, 32, 16, 4), 40000, 10000)]
    share = 0.0
    for threads, widths, n, size in cases:
        took = int(run_python("-c", PEAK, str(threads), repr(widths), str(n), str(size)))
        allowed = documented(widths, threads) + SLACK
        assert took <= allowed, f"{widths}, batch {size}: {took:,} bytes instead of {allowed:,}"
        share = max(share, took / allowed)
    return share


def main():
    arguments = parser(__doc__, 1_000_000)
    arguments.add_argument("--here", action="store_true", help="in this process")
    chosen = arguments.parse_args()
    with Report() as counts:
        if chosen.here:
            counts.update(no_growth(chosen.count))
        else:
            counts.update(last_line(run_python(__file__, "--here", "--count", str(chosen.count), seconds=3600)))
            counts["peak_of_documented"] = round(peak_is_documented(), 2)


if __name__ == "__main__":
    main()

"""
Learning from a stream
======================

Readings come a few at a time, and what they follow drifts. A network that makes one step for each batch keeps up: it
predicts first, is told the truth, and learns from it. Steps of a loop by hand cost some ten microseconds, so that
thousands of readings a second are little work.
"""

from time import perf_counter

import numpy
from matplotlib import pyplot

from fastbp import nn, optim

rng = numpy.random.default_rng(0)


def batch(time):
    """Eight readings whose law turns with the time."""
    x = rng.uniform(-1, 1, (8, 2)).astype(numpy.float32)
    angle = 2 * numpy.pi * time / 4000
    direction = numpy.array([numpy.cos(angle), numpy.sin(angle)], numpy.float32)
    y = numpy.sin(3 * (x @ direction))[:, None] + 0.05 * rng.standard_normal((8, 1), dtype=numpy.float32)
    return x, y


# %%
# Two networks: one that learns on, and one that stopped learning after 1,000 batches.

layers = [nn.Linear(2, 32, rng=1), nn.Tanh(), nn.Linear(32, 32, rng=2), nn.Tanh(), nn.Linear(32, 1, rng=3)]
learning = nn.Sequential(*layers)
stopped = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
criterion, opt = nn.MSELoss(), optim.Adam(learning.parameters(), lr=5e-3)
errors, steps_took = {"learns on": [], "stopped": []}, []
for time in range(4000):
    x, y = batch(time)
    begin = perf_counter()
    loss = criterion(learning(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    steps_took.append(perf_counter() - begin)
    errors["learns on"].append(loss.item())  # of the prediction, before the step
    if time == 1000:
        stopped.load_state_dict(learning.state_dict())
    errors["stopped"].append(criterion(stopped(x), y).item() if time >= 1000 else numpy.nan)
print(f"a step takes {1e6 * numpy.median(steps_took):.0f} µs in the median")

# %%

figure, ax = pyplot.subplots(figsize=(7, 4), layout="constrained")
for name, values in errors.items():
    ax.plot(numpy.convolve(values, numpy.ones(50) / 50, "valid"), label=name)
ax.set(xlabel="batches of eight readings", ylabel="squared error, mean of 50", yscale="log")
ax.legend()
pyplot.show()

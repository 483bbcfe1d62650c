"""
How sure an ensemble is
=======================

Networks that start from other weights agree where there are data, and differ where there are none. ``train_models``
trains all of them in one call, each on a bootstrap sample of the rows, and ``fastbp.Ensemble`` lets them answer
together.
"""

from time import perf_counter

import numpy
from matplotlib import pyplot

import fastbp
from fastbp import nn, optim

rng = numpy.random.default_rng(0)
x = numpy.concatenate([rng.uniform(-2, -0.5, 100), rng.uniform(1, 2, 60)]).astype(numpy.float32)[:, None]


def curve(x):
    return numpy.sin(3 * x) + 0.3 * x


y = (curve(x) + 0.1 * rng.standard_normal(x.shape)).astype(numpy.float32)

# %%
# Each member has a seed of its own, and takes its sample of the rows by their numbers: the data are shared.


def member(seed):
    rng = numpy.random.default_rng(seed)
    model = nn.Sequential(
        nn.Linear(1, 32, rng=rng), nn.Tanh(), nn.Linear(32, 32, rng=rng), nn.Tanh(), nn.Linear(32, 1, rng=rng)
    )
    return fastbp.TrainingJob(
        model=model, criterion=nn.MSELoss(), opt=optim.Adam(model.parameters(), lr=0.01), epochs=300,
        mini_batch_size=20, train_input=x, train_target=y, rows=rng.integers(len(x), size=len(x)), shuffle=True,
        rng=seed,
    )  # fmt: skip


jobs = [member(seed) for seed in range(50)]
begin = perf_counter()
fastbp.train_models(jobs)
print(f"{len(jobs)} networks, 300 epochs each: {perf_counter() - begin:.2f} seconds")

# %%

ensemble = fastbp.Ensemble(job.model for job in jobs)
grid = numpy.linspace(-3, 3, 300, dtype=numpy.float32)[:, None]
low, middle, high = ensemble.predict_quantiles(grid, (0.05, 0.5, 0.95))[..., 0]
figure, ax = pyplot.subplots(figsize=(7, 4), layout="constrained")
ax.fill_between(grid[:, 0], low, high, alpha=0.3, label="5 to 95 % of 50 networks")
ax.plot(grid[:, 0], middle, label="their median")
ax.plot(grid[:, 0], curve(grid[:, 0]), "--", color="0.3", label="the curve")
ax.scatter(x[:, 0], y[:, 0], s=8, color="C3", label="data")
ax.set(ylim=(-3, 3), xlabel="x", ylabel="y")
ax.legend(loc="upper left")
pyplot.show()

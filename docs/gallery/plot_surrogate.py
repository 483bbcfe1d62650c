"""
A surrogate whose gradient SciPy uses
=====================================

A simulation is expensive, and has no gradient. A network that was fitted to some hundred runs of it answers in
microseconds, and ``fastbp.jacobian`` gives its exact derivatives, so that ``scipy.optimize`` may search it with a
gradient, from many starts.
"""

from time import perf_counter

import numpy
from matplotlib import pyplot
from scipy.optimize import minimize

import fastbp
from fastbp import nn, optim


def simulation(x):
    """Stands for hours of computing: Branin's function, scaled to the unit square; its least value is 0.398."""
    a, b = 15 * x[..., 0] - 5, 15 * x[..., 1]
    valley = b - 5.1 / (4 * numpy.pi**2) * a**2 + 5 / numpy.pi * a - 6
    return valley**2 + 10 * (1 - 1 / (8 * numpy.pi)) * numpy.cos(a) + 10


# %%
# Runs of the simulation at random places, and a small network in float64. It learns the logarithm of the value: what
# matters is the bottom of the valleys, where values are smallest.

rng = numpy.random.default_rng(0)
inputs = rng.random((400, 2))
values = numpy.log(simulation(inputs))[:, None]
mean, scale = values.mean(), values.std()
layers = [nn.Linear(2, 40, rng=1, dtype="float64"), nn.Tanh(), nn.Linear(40, 40, rng=2, dtype="float64"), nn.Tanh()]
model = nn.Sequential(*layers, nn.Linear(40, 1, rng=3, dtype="float64"))
begin = perf_counter()
found = optim.minimize(model, nn.MSELoss(), (inputs, (values - mean) / scale), options={"maxiter": 1500})
print(f"mean squared error {found.fun:.1e} after {found.nit} iterations, {perf_counter() - begin:.2f} seconds")

new = rng.random((5000, 2))
error = scale * model.predict(new)[:, 0] + mean - numpy.log(simulation(new))
print(f"on new places the value is off by {100 * numpy.expm1(abs(error)).mean():.1f}% in the mean")

# %%
# Value and gradient for SciPy, each in one compiled call.


def value(x):
    return float(scale * model.predict(x[None])[0, 0] + mean)


def gradient(x):
    return scale * fastbp.jacobian(model, x[None])[0, 0]


starts = rng.random((20, 2))
begin = perf_counter()
minima = [minimize(value, start, jac=gradient, bounds=[(0, 1), (0, 1)], method="L-BFGS-B") for start in starts]
seconds = perf_counter() - begin
calls = sum(each.nfev for each in minima)
print(f"{len(starts)} searches, {calls} values with gradients, {1e6 * seconds / calls:.0f} µs each, SciPy included")
best = min(minima, key=lambda each: each.fun)
told, true = numpy.exp(best.fun), simulation(best.x)
print(f"best place {best.x.round(3)}: the surrogate says {told:.3f}, the simulation {true:.3f}")

# %%
# The simulation, what the surrogate makes of 400 runs of it, and where the searches ended.

side = numpy.linspace(0, 1, 120)
grid = numpy.stack(numpy.meshgrid(side, side), axis=-1)
surrogate = numpy.exp(scale * model.predict(grid.reshape(-1, 2)).reshape(120, 120) + mean)
figure, axes = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
levels = numpy.geomspace(0.5, 300, 14)
for ax, heights, title in zip(axes, (simulation(grid), surrogate), ("simulation", "surrogate")):
    shades = ax.contourf(side, side, heights.clip(0.5), levels, norm="log", cmap="viridis")
    ax.set(title=title, xlim=(0, 1), ylim=(0, 1), aspect="equal")
axes[0].scatter(*inputs.T, s=3, color="white")
axes[1].scatter(*starts.T, s=12, color="white", label="starts")
axes[1].scatter(*numpy.array([each.x for each in minima]).T, s=40, marker="x", color="C3", label="ends")
axes[1].legend(loc="upper right")
figure.colorbar(shades, ax=axes, label="value")
pyplot.show()

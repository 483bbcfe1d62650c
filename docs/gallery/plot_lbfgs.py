"""
A fit in float64 with L-BFGS
============================

For smooth functions and few rows, all rows at once and a quasi-Newton method reach errors that mini-batches do not.
``optim.minimize`` hands loss and gradient of the whole network to SciPy, each in one compiled call, in float64
throughout.
"""

import numpy
from matplotlib import pyplot

import fastbp
from fastbp import nn, optim

x = numpy.linspace(-1, 1, 200)[:, None]
y = numpy.exp(-3 * x**2) * numpy.sin(8 * x)


def network():
    parts = [nn.Linear(1, 24, rng=0, dtype="float64"), nn.Tanh(), nn.Linear(24, 24, rng=1, dtype="float64"), nn.Tanh()]
    return nn.Sequential(*parts, nn.Linear(24, 1, rng=2, dtype="float64"))


# %%
# L-BFGS over all rows; ``callback`` notes the loss of each iteration.

by_lbfgs, criterion, losses = network(), nn.MSELoss(), []
result = optim.minimize(
    by_lbfgs, criterion, (x, y), options={"maxiter": 3000, "ftol": 0, "gtol": 1e-10},
    callback=lambda _: losses.append(criterion.evaluate(by_lbfgs.predict(x), y)),
)  # fmt: skip
print(f"L-BFGS: {result.fun:.1e} after {result.nit} iterations")

# %%
# The same network by Adam over mini-batches, for as many passes over the data.

by_adam = network()
opt = optim.Adam(by_adam.parameters(), lr=5e-3)
history = fastbp.train_model(
    by_adam, x, y, None, None, criterion, opt, epochs=len(losses), mini_batch_size=20, shuffle=True, rng=0,
    scheduler=optim.lr_scheduler.CosineAnnealingLR(opt, T_max=len(losses)),
)  # fmt: skip
print(f"Adam:   {history['train_loss_mean'][-1]:.1e} after {history.epochs} epochs, {history.seconds:.2f} seconds")

# %%

figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.loglog(losses, label="L-BFGS")
left.loglog(history["train_loss_mean"], label="Adam")
left.set(xlabel="passes over the data", ylabel="mean squared error")
left.legend()
right.plot(x, abs(by_lbfgs.predict(x) - y), label="L-BFGS")
right.plot(x, abs(by_adam.predict(x) - y), label="Adam")
right.set(xlabel="x", ylabel="error of the fit", yscale="log")
right.legend()
pyplot.show()

"""
Quantiles with bands
====================

One network predicts several quantiles at once: ``nn.QuantileLoss`` takes their probabilities, and an output for each.
The spread of the data grows with x here, and the bands follow it.
"""

import numpy
from matplotlib import pyplot

import fastbp
from fastbp import nn, optim

rng = numpy.random.default_rng(0)
x = rng.uniform(-3, 3, (3000, 1)).astype(numpy.float32)
spread = 0.1 + 0.15 * (x + 3)
y = (numpy.sin(1.5 * x) + spread * rng.standard_normal(x.shape)).astype(numpy.float32)

# %%
# An output for each quantile.

quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
model = nn.Sequential(
    nn.Linear(1, 48, rng=1), nn.SiLU(), nn.Linear(48, 48, rng=2), nn.SiLU(), nn.Linear(48, len(quantiles), rng=3)
)
opt = optim.Adam(model.parameters(), lr=3e-3)
history = fastbp.train_model(
    model, x, y, None, None, nn.QuantileLoss(quantiles), opt, epochs=150, mini_batch_size=100, shuffle=True, rng=0,
    scheduler=optim.lr_scheduler.CosineAnnealingLR(opt, T_max=150),
)  # fmt: skip
print(f"{history.seconds:.2f} seconds for {history.epochs} epochs")

# %%
# How many of new points lie below each quantile tells how far to trust it.

new = rng.uniform(-3, 3, (20000, 1)).astype(numpy.float32)
truth = numpy.sin(1.5 * new) + (0.1 + 0.15 * (new + 3)) * rng.standard_normal(new.shape)
below = (truth < model.predict(new)).mean(axis=0)
for quantile, share in zip(quantiles, below):
    print(f"{quantile:4.0%} quantile: {share:5.1%} of new points below")

# %%

grid = numpy.linspace(-3, 3, 300, dtype=numpy.float32)[:, None]
low, lower, middle, upper, high = model.predict(grid).T
figure, ax = pyplot.subplots(figsize=(7, 4), layout="constrained")
ax.scatter(x[:, 0], y[:, 0], s=2, color="0.6", label="data")
ax.fill_between(grid[:, 0], low, high, alpha=0.25, color="C0", label="5 to 95 %")
ax.fill_between(grid[:, 0], lower, upper, alpha=0.4, color="C0", label="25 to 75 %")
ax.plot(grid[:, 0], middle, color="C3", label="median")
ax.set(xlabel="x", ylabel="y")
ax.legend(loc="upper left")
pyplot.show()

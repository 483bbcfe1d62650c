"""A worked example of many models in one call: ``python -m bench.uncertainty``.

Two figures: how sure an ensemble is of a curve where it has seen data and where it has not, and which learning rate
suits which width, from 400 trainings in one call.
"""

from __future__ import annotations

import argparse
from itertools import product
from time import perf_counter

import numpy as np
from matplotlib import pyplot

import fastbp
from bench.figures import save_figure
from bench.workloads import Array
from fastbp import nn, optim

MEMBERS = 50
WIDTHS = tuple(np.geomspace(4, 128, 20).round().astype(int).tolist())  # 20 of them are different
RATES = tuple(np.geomspace(1e-5, 1.0, 20).tolist())


def curve(x: Array) -> Array:
    return np.sin(3 * x) + 0.3 * x


def data() -> tuple[Array, Array]:
    """Return noisy points of the curve, none of them between -0.5 and 1."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-2, -0.5, 100), rng.uniform(1, 2, 60)]).astype(np.float32)[:, None]
    return x, (curve(x) + 0.1 * rng.standard_normal(x.shape)).astype(np.float32)


def job_of(width: int, lr: float, seed: int, epochs: int, rows: Array | None = None) -> fastbp.TrainingJob:
    rng = np.random.default_rng(seed)
    inner = nn.Linear(1, width, rng=rng), nn.Tanh(), nn.Linear(width, width, rng=rng), nn.Tanh()
    model = nn.Sequential(*inner, nn.Linear(width, 1, rng=rng))
    input, target = data()
    return fastbp.TrainingJob(
        model=model, criterion=nn.MSELoss(), opt=optim.Adam(model.parameters(), lr=lr), epochs=epochs,
        mini_batch_size=20, train_input=input, train_target=target, rows=rows, shuffle=True, rng=seed,
        on_nonfinite="ignore",
    )  # fmt: skip


def draw_band(epochs: int) -> None:
    """Train each member on a bootstrap sample of its own, and draw what they say together."""
    input, target = data()
    samples = np.random.default_rng(1).integers(len(input), size=(MEMBERS, len(input)))
    jobs = [job_of(32, 0.01, seed, epochs, rows) for seed, rows in enumerate(samples)]
    fastbp.train_models(jobs)
    x = np.linspace(-3, 3, 300, dtype=np.float32)[:, None]
    ensemble = fastbp.Ensemble(job.model for job in jobs)
    low, middle, high = ensemble.predict_quantiles(x, (0.05, 0.5, 0.95))[..., 0]
    _, ax = pyplot.subplots(layout="constrained")
    ax.fill_between(x[:, 0], low, high, alpha=0.3, label=f"5 to 95 % of {MEMBERS} networks")
    ax.plot(x[:, 0], middle, label="their median")
    ax.plot(x[:, 0], curve(x[:, 0]), "k--", linewidth=1, label="the curve")
    ax.plot(input[:, 0], target[:, 0], ".", color="0.4", markersize=3, label="data")
    ax.set(xlabel="x", ylabel="y", ylim=(-3, 3))
    ax.legend()
    save_figure(ax, "ensemble")


def draw_map(epochs: int) -> None:
    """Train each width by each learning rate, and draw the last losses."""
    jobs = [job_of(width, rate, 0, epochs) for width, rate in product(WIDTHS, RATES)]
    start = perf_counter()
    histories = fastbp.train_models(jobs)
    took = perf_counter() - start
    losses = np.reshape([history["train_loss_mean"][-1] for history in histories], (len(WIDTHS), len(RATES)))
    _, ax = pyplot.subplots(layout="constrained")
    image = ax.pcolormesh(RATES, WIDTHS, np.log10(np.clip(losses, 1e-3, 10)), shading="nearest")
    ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="width")
    ax.figure.colorbar(image, label="log10 of the last training loss")
    print(f"{len(jobs)} trainings of {epochs} epochs took {took:.1f} s")
    save_figure(ax, "learning_rates")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.uncertainty", description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=200)
    epochs = parser.parse_args().epochs
    fastbp.warmup()
    draw_band(epochs)
    draw_map(epochs)


if __name__ == "__main__":
    main()

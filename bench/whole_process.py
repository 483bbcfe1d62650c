"""The original task as a user's whole program: import fastbp, train 1,000 epochs, print the accuracy.

``python -m bench.speed`` times this file as a process, beside ``python -c "import torch"``, and so does asv.
"""

import numpy

import fastbp
from fastbp import nn, optim


def main() -> None:
    rng = numpy.random.default_rng(2019)
    train, validation, test = (fastbp.datasets.disk(1000, rng) for _ in range(3))
    model = nn.Sequential(
        nn.Linear(2, 25, rng=rng), nn.ReLU(),
        nn.Linear(25, 25, rng=rng), nn.ReLU(),
        nn.Linear(25, 25, rng=rng), nn.ReLU(),
        nn.Linear(25, 2, rng=rng),
    )  # fmt: skip
    criterion, opt = nn.MSELoss(reduction="sum"), optim.SGD(model.parameters(), lr=1e-3)
    fastbp.train_model(model, *train, *validation, criterion, opt, epochs=1000, mini_batch_size=50)
    print(f"{fastbp.compute_accuracy(model, *test):.4f}")


if __name__ == "__main__":
    main()

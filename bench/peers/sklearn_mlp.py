"""scikit-learn's MLPRegressor.

Its loss is half the mean over the mini-batch of the sums over outputs, whatever PyTorch's reduction would be: the
learning rate makes the steps the same.
"""

from __future__ import annotations

import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

from bench.contenders import Contender
from bench.workloads import Training

set_threads = threadpool_limits


def training(workload: Training) -> Contender:
    data = workload.data()
    scale = workload.mini_batch if workload.reduction == "sum" else 1 / workload.widths[-1]
    model = MLPRegressor(
        hidden_layer_sizes=workload.widths[1:-1],
        activation=workload.activation,
        solver="sgd",
        alpha=0,
        batch_size=workload.mini_batch,
        learning_rate_init=2 * workload.lr * scale,
        momentum=0,
        nesterovs_momentum=False,
        shuffle=False,
        tol=0,
        n_iter_no_change=10**9,
        warm_start=True,
        max_iter=1,
    )
    warnings.simplefilter("ignore", ConvergenceWarning)
    model.partial_fit(data.train_input, data.train_target)  # makes the arrays
    for place, (weight, bias) in enumerate(workload.layers()):
        model.coefs_[place][...] = weight.T
        model.intercepts_[place][...] = bias

    def run(epochs: int) -> None:
        if data.val_input is None:
            model.max_iter = epochs
            model.fit(data.train_input, data.train_target)
            return
        for _ in range(epochs):
            model.partial_fit(data.train_input, data.train_target)
            output = model.predict(data.val_input)
            ((output - data.val_target) ** 2).sum()
            (output.argmax(1) == data.val_target.argmax(1)).mean()

    return Contender(run, lambda: [w for pair in zip([c.T for c in model.coefs_], model.intercepts_) for w in pair])

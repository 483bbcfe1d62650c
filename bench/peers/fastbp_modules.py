"""fastbp in a loop of one's own: module by module, from Python."""

from __future__ import annotations

from bench.contenders import Contender
from bench.peers.fastbp_engine import network, set_threads
from bench.workloads import Training
from fastbp import nn, optim

__all__ = ["online", "set_threads", "training"]


def training(workload: Training) -> Contender | None:
    if workload.validation:
        return None
    model = network(workload.layers(), workload.activation)
    data, size = workload.data(), workload.mini_batch
    criterion, opt = nn.MSELoss(reduction=workload.reduction), optim.SGD(model.parameters(), lr=workload.lr)

    def run(epochs: int) -> None:
        for _ in range(epochs):
            train_loss = 0.0
            for first in range(0, workload.samples, size):
                output = model(data.train_input[first : first + size])
                train_loss += criterion(output, data.train_target[first : first + size])
                opt.zero_grad()
                model.backward_parameters(criterion.backward())
                opt.step()

    return Contender(run, lambda: [parameter.data for parameter in model.parameters()])


online = training

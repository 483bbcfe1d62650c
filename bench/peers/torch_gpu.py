"""PyTorch on a GPU: the usual loop, and where the GPU can, a mini-batch recorded once and replayed as a CUDA graph."""

from __future__ import annotations

import torch

from bench.contenders import Contender
from bench.peers.torch_eager import network
from bench.workloads import Training

DEVICE = "cuda"


def set_threads(threads: int) -> None:
    torch.set_num_threads(threads)


def training(workload: Training) -> Contender:
    """All rows lie on the GPU, and the loss comes back once a run."""
    model = network(workload.layers(), workload.activation).to(DEVICE)
    criterion = torch.nn.MSELoss(reduction=workload.reduction)
    optimizer = torch.optim.SGD(model.parameters(), lr=workload.lr)
    data, size = workload.data(), workload.mini_batch
    input, target = (torch.from_numpy(array).to(DEVICE) for array in (data.train_input, data.train_target))
    x, y = torch.zeros_like(input[:size]), torch.zeros_like(target[:size])
    total = torch.zeros((), dtype=input.dtype, device=DEVICE)

    def step() -> None:
        loss = criterion(model(x), y)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        total.add_(loss.detach())

    replay = _recorded(step, model) if DEVICE == "cuda" else step

    def run(epochs: int) -> None:
        for _ in range(epochs):
            for first in range(0, len(input), size):
                x.copy_(input[first : first + size])
                y.copy_(target[first : first + size])
                replay()
        total.item()  # waits for all of it

    return Contender(run, lambda: [parameter.detach().cpu().numpy() for parameter in model.parameters()])


def _recorded(step, model):
    """Return what replays ``step``; the parameters are as they were before it was recorded."""
    before = [parameter.detach().clone() for parameter in model.parameters()]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # so that what is allocated once is there
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    with torch.no_grad():
        for parameter, first in zip(model.parameters(), before):
            parameter.copy_(first)
    return graph.replay

"""Optimisers that torch does not have, in its form: written after their papers, with nothing of the library's."""

import torch


class Lion(torch.optim.Optimizer):
    """Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, algorithm 2."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0, maximize=False):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state, (one, two) = self.state[parameter], group["betas"]
                average = state.setdefault("exp_avg", torch.zeros_like(parameter))
                grad = -parameter.grad if group["maximize"] else parameter.grad
                direction = torch.sign(one * average + (1 - one) * grad)
                parameter -= group["lr"] * (direction + group["weight_decay"] * parameter)
                state["exp_avg"] = two * average + (1 - two) * grad

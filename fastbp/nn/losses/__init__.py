"""Losses: a number for a prediction and a target, and its gradient."""

from fastbp.nn.losses.binary import BCELoss, BCEWithLogitsLoss
from fastbp.nn.losses.classes import CrossEntropyLoss, NLLLoss
from fastbp.nn.losses.distances import HuberLoss, L1Loss, MSELoss, QuantileLoss, SmoothL1Loss
from fastbp.nn.losses.distributions import KLDivLoss, PoissonNLLLoss
from fastbp.nn.losses.gaussian import GaussianNLLLoss
from fastbp.nn.losses.kernel_loss import KernelLoss
from fastbp.nn.losses.loss import Loss
from fastbp.nn.losses.own import ElementwiseLoss

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "ElementwiseLoss",
    "GaussianNLLLoss",
    "HuberLoss",
    "KLDivLoss",
    "KernelLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "QuantileLoss",
    "SmoothL1Loss",
]


def loss_of_row(name: str) -> KernelLoss:
    """Return a loss of the library for a row of the registry."""
    kind, _, form = name.partition(":")
    made: KernelLoss = globals()[kind](**_FORMS.get(form, {}))
    return made


_FORMS: dict[str, dict[str, bool | float]] = {
    "rate": {"log_input": False}, "log_target": {"log_target": True}, "clipped": {"eps": 1e-6},
}  # fmt: skip

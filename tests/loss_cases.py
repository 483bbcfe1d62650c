"""Every loss with its settings, what it takes, and its twin in torch."""

from types import MappingProxyType
from typing import Any, NamedTuple

import numpy
import torch
from helpers import draw

from fastbp import nn

OUTPUTS = 4


class Case(NamedTuple):
    """A loss by name and arguments; ``kind`` is what its predictions and targets are."""

    name: str
    options: Any = MappingProxyType({})
    kind: str = "numbers"

    def __str__(self):
        return " ".join([self.name, self.kind, *(f"{key}={value}" for key, value in self.options.items())])

    def ours(self, reduction="mean"):
        return getattr(nn, self.name)(**self.options, reduction=reduction)

    def theirs(self, reduction="mean", dtype=numpy.float64):
        if self.name == "QuantileLoss":
            return pinball(self.options["quantiles"], reduction)
        if "eps" in self.options and self.name != "PoissonNLLLoss":
            return clipped(getattr(torch.nn.functional, FUNCTIONS[self.name]), self.options["eps"], reduction)
        options = dict(self.options)
        for name in {"weight", "pos_weight"} & options.keys():
            options[name] = torch.tensor(options[name], dtype=getattr(torch, numpy.dtype(dtype).name))
        return getattr(torch.nn, self.name)(**options, reduction=reduction)

    def data(self, dtype, n=37, seed=0):
        """Predictions (n, OUTPUTS) and targets."""
        x, y = draw((n, OUTPUTS), dtype, seed) * dtype(2), draw((n, OUTPUTS), dtype, seed + 1)
        return self.predictions(x), self.targets(y)

    def predictions(self, x):
        if self.kind == "probabilities":
            return (1 / (1 + numpy.exp(-x))).astype(x.dtype)
        if self.kind in ("log classes", "log probabilities"):
            return torch.log_softmax(torch.tensor(x), 1).numpy()
        return numpy.abs(x) + x.dtype.type(0.1) if self.kind == "rates" else x

    def targets(self, y):
        if self.kind in ("classes", "log classes"):
            return numpy.arange(len(y)) ** 2 % OUTPUTS
        if self.kind in ("probabilities", "logits"):
            return (1 / (1 + numpy.exp(-3 * y))).round(1).astype(y.dtype)
        if self.kind in ("soft classes", "log probabilities"):
            soft = torch.softmax(torch.tensor(y), 1).numpy()
            return numpy.log(soft) if self.options.get("log_target") else soft
        if self.kind in ("counts", "rates"):
            return numpy.abs(3 * y).round()
        return y[:, : OUTPUTS // len(self.options.get("quantiles", [0]))].copy()


FUNCTIONS = {"BCEWithLogitsLoss": "binary_cross_entropy_with_logits", "CrossEntropyLoss": "cross_entropy"}


def clipped(function, eps, reduction):
    """A loss of logits whose values are those of probabilities cut off at eps, with the gradient of what is not."""

    def loss(prediction, target):
        leaf = prediction.detach().requires_grad_()
        (slope,) = torch.autograd.grad(function(leaf, target, reduction="sum"), leaf)
        wide = prediction.detach().double()
        if not target.is_floating_point():
            probabilities = torch.softmax(wide, min(1, wide.ndim - 1)).clamp(min=eps)
            values = torch.nn.functional.nll_loss(probabilities.log(), target, reduction="none")
        else:
            of_one, of_zero = torch.sigmoid(wide).clamp(min=eps).log(), torch.sigmoid(-wide).clamp(min=eps).log()
            values = -target * of_one - (1 - target) * of_zero
        values = _WithSlope.apply(prediction, values.to(prediction.dtype), slope)
        return {"mean": values.mean, "sum": values.sum, "none": lambda: values}[reduction]()

    return loss


class _WithSlope(torch.autograd.Function):
    """Values with a derivative that is not theirs."""

    @staticmethod
    def forward(context, prediction, values, slope):
        context.slope = slope
        return values.clone()

    @staticmethod
    def backward(context, grad):
        slope = context.slope
        return slope * (grad.unsqueeze(1 if grad.ndim else -1) if grad.ndim < slope.ndim else grad), None, None


def pinball(quantiles, reduction):
    """The definition, as one writes it in torch: predictions (n, outputs * quantiles), targets (n, outputs)."""

    def loss(prediction, target):
        level = torch.tensor(quantiles, dtype=prediction.dtype)
        difference = target[:, :, None] - prediction.reshape(*target.shape, len(quantiles))
        values = torch.maximum(level * difference, (level - 1) * difference).reshape(prediction.shape)
        return {"mean": values.mean, "sum": values.sum, "none": lambda: values}[reduction]()

    return loss


CLASS_WEIGHTS = [0.5, 2.0, 0.25, 1.5]
CASES = [
    Case("MSELoss"),
    Case("L1Loss"),
    Case("SmoothL1Loss"),
    Case("SmoothL1Loss", {"beta": 0.3}),
    Case("SmoothL1Loss", {"beta": 0.0}),
    Case("HuberLoss"),
    Case("HuberLoss", {"delta": 0.4}),
    Case("QuantileLoss", {"quantiles": [0.7]}),
    Case("QuantileLoss", {"quantiles": [0.1, 0.9]}),
    Case("BCELoss", {}, "probabilities"),
    Case("BCELoss", {"weight": CLASS_WEIGHTS}, "probabilities"),
    Case("BCEWithLogitsLoss", {}, "logits"),
    Case("BCEWithLogitsLoss", {"weight": [3.0]}, "logits"),
    Case("BCEWithLogitsLoss", {"weight": CLASS_WEIGHTS, "pos_weight": [1.0, 3.0, 0.2, 5.0]}, "logits"),
    Case("BCEWithLogitsLoss", {"eps": 1e-8}, "logits"),
    Case("PoissonNLLLoss", {}, "counts"),
    Case("PoissonNLLLoss", {"full": True}, "counts"),
    Case("PoissonNLLLoss", {"log_input": False, "eps": 1e-3}, "rates"),
    Case("PoissonNLLLoss", {"log_input": False, "full": True}, "rates"),
    Case("KLDivLoss", {}, "log probabilities"),
    Case("KLDivLoss", {"log_target": True}, "log probabilities"),
    Case("CrossEntropyLoss", {}, "classes"),
    Case("CrossEntropyLoss", {"eps": 1e-8}, "classes"),
    Case("CrossEntropyLoss", {"weight": CLASS_WEIGHTS}, "classes"),
    Case("CrossEntropyLoss", {"label_smoothing": 0.1}, "classes"),
    Case("CrossEntropyLoss", {"ignore_index": 1}, "classes"),
    Case("CrossEntropyLoss", {"weight": CLASS_WEIGHTS, "label_smoothing": 0.3, "ignore_index": 0}, "classes"),
    Case("CrossEntropyLoss", {}, "soft classes"),
    Case("CrossEntropyLoss", {"weight": CLASS_WEIGHTS, "label_smoothing": 0.2}, "soft classes"),
    Case("NLLLoss", {}, "log classes"),
    Case("NLLLoss", {"weight": CLASS_WEIGHTS, "ignore_index": 1}, "log classes"),
]

"""Targets of shape (n,) for one output are refused with the remedy by everything: they would be broadcast to (n, n)."""

import numpy
import pytest
from helpers import assert_unchanged, draw, snapshot
from same_bits import OwnSGD

import fastbp
from fastbp import nn, optim

X = draw((12, 4), numpy.float32)
FLAT = (X[:, 0] > 0).astype(numpy.float32)
LOSSES = {
    **{name: getattr(nn, name) for name in nn.__all__ if name.endswith("Loss")},
    "QuantileLoss": lambda: nn.QuantileLoss([0.5]),
}
OF_CLASSES = ("CrossEntropyLoss", "NLLLoss")  # whose targets are of shape (n,)
ELEMENTWISE = [name for name in LOSSES if name not in (*OF_CLASSES, "GaussianNLLLoss", "ElementwiseLoss")]


@pytest.mark.parametrize("opt_class", [optim.SGD, OwnSGD])
@pytest.mark.parametrize("which", ["train_target", "val_target"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_train_model_refuses_flat_targets_of_every_loss_with_the_remedy(name, which, opt_class):
    model = nn.Sequential(nn.Linear(4, 1, rng=0), nn.Sigmoid())
    data = {"train_input": X, "train_target": FLAT[:, None].copy(), "val_input": X, "val_target": FLAT[:, None].copy()}
    before, opt = snapshot(model), opt_class(model.parameters(), lr=0.1)
    match = rf"{which} of the shape of the model's outputs .*\(12, 1\), got \(12,\); pass {which}\[:, None\]"
    with pytest.raises(ValueError, match=match):
        fastbp.train_model(model, *(data | {which: FLAT}).values(), LOSSES[name](), opt, 1, 5)
    assert_unchanged(model, before)
    fastbp.train_model(model, *data.values(), LOSSES[name](), opt, 1, 5)


@pytest.mark.parametrize("name", [*ELEMENTWISE, "GaussianNLLLoss"])
def test_every_loss_refuses_a_flat_target_with_the_remedy(name):
    prediction, more = FLAT[:, None].copy(), [numpy.ones((12, 1), numpy.float32)] * (name == "GaussianNLLLoss")
    with pytest.raises(ValueError, match=r"\(12, 1\), got \(12,\).*; .*\[..., None\]"):
        LOSSES[name]()(prediction, FLAT, *more)


def test_the_accuracy_of_flat_targets_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"got \(12,\); pass targets\[:, None\]"):
        fastbp.compute_accuracy(nn.Linear(4, 1), X, FLAT)

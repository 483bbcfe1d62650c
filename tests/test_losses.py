"""What MSELoss does beyond its numbers: defaults, buffers, empty batches, sums in float64."""

import copy
import pickle

import numpy
import pytest
import torch
from helpers import assert_close, draw, leaf, tensor

import fastbp
from fastbp import nn


def run_both(reduction, prediction, target):
    criterion, theirs = nn.MSELoss(reduction=reduction), leaf(prediction)
    expected = torch.nn.MSELoss(reduction=reduction)(theirs, tensor(target))
    expected.backward()
    loss = criterion(prediction, target)
    assert loss.dtype == numpy.float64
    assert_close(numpy.array(loss, prediction.dtype), expected)
    grad_prediction = criterion.backward()
    assert grad_prediction.dtype == prediction.dtype
    assert_close(grad_prediction, theirs.grad)


@pytest.mark.parametrize("shape", [(0, 2), (2, 0), (0,), (2, 3, 0), (0, 0, 0)], ids=str)
def test_the_mean_of_nothing_is_nan_and_the_sum_zero_as_in_torch(reduction, shape, dtype):
    run_both(reduction, numpy.empty(shape, dtype), numpy.empty(shape, dtype))


def test_the_default_reduction_is_the_mean(dtype):
    prediction, target = draw((7, 5), dtype), draw((7, 5), dtype, seed=1)
    assert nn.MSELoss()(prediction, target) == nn.MSELoss(reduction="mean")(prediction, target)
    assert nn.MSELoss()(prediction, target) != nn.MSELoss(reduction="sum")(prediction, target)


def test_the_loss_of_float32_is_accumulated_in_float64():
    prediction, target = draw((400_000, 2), numpy.float32), draw((400_000, 2), numpy.float32, seed=1)
    exact = ((prediction - target).astype(numpy.float64) ** 2).sum()
    loss = nn.MSELoss(reduction="sum")(prediction, target)
    assert loss == pytest.approx(exact, rel=1e-9, abs=0), "a float32 sum is off by 1e-7 or more"


def test_backward_before_another_forward_gives_the_same_gradient_again(reduction, dtype):
    criterion = nn.MSELoss(reduction=reduction)
    criterion(draw((7, 5), dtype), draw((7, 5), dtype, seed=1))
    first = criterion.backward(retain_graph=True).copy()
    numpy.testing.assert_array_equal(criterion.backward(), first)
    with pytest.raises(RuntimeError, match=r"a forward of MSELoss a second time, .*retain_graph"):
        criterion.backward()


def test_prediction_and_target_are_left_as_they_are(reduction, dtype):
    prediction, target = draw((7, 5), dtype), draw((7, 5), dtype, seed=1)
    criterion = nn.MSELoss(reduction=reduction)
    criterion(prediction, target)
    criterion.backward()
    numpy.testing.assert_array_equal(prediction, draw((7, 5), dtype))
    numpy.testing.assert_array_equal(target, draw((7, 5), dtype, seed=1))


def test_the_gradient_array_is_reused_once_nobody_holds_it(dtype):
    criterion = nn.MSELoss()
    addresses, kept = [], []
    for seed in range(4):
        criterion(draw((7, 5), dtype, seed), draw((7, 5), dtype, seed + 10))
        grad = criterion.backward()
        addresses.append(grad.ctypes.data)
        if seed == 1:
            kept += [grad, grad.copy()]
        del grad
    assert addresses[0] == addresses[1]
    assert addresses[1] not in addresses[2:]
    numpy.testing.assert_array_equal(*kept)


def test_a_loss_is_a_number_that_knows_how_it_was_computed(dtype):
    criterion, x = nn.MSELoss(), draw((7, 5), dtype)
    loss = criterion(x, x + 1)
    assert loss.item() == loss == pytest.approx(1)
    assert type(loss.item()) is type(float(loss)) is float
    assert f"{loss:.3f}" == "1.000"
    assert type(pickle.loads(pickle.dumps(loss))) is type(copy.copy(loss)) is numpy.ndarray
    with pytest.raises(RuntimeError, match="computed from numbers alone"):
        loss.backward()


def test_a_target_with_a_gradient_is_refused_and_its_numbers_are_taken(dtype):
    criterion, x = nn.MSELoss(), draw((7, 5), dtype)
    target = fastbp.tensor(x + 1, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"MSELoss has a gradient for its prediction, .*target\.detach\(\)"):
        criterion(x, target)
    assert criterion(x, target.detach()) == pytest.approx(1)
    with fastbp.no_grad():
        assert criterion(x, target) == pytest.approx(1)


SETTINGS = {
    "weight": lambda: nn.CrossEntropyLoss(),
    "label_smoothing": lambda: nn.CrossEntropyLoss(),
    "ignore_index": lambda: nn.NLLLoss(),
    "beta": lambda: nn.SmoothL1Loss(),
    "delta": lambda: nn.HuberLoss(),
    "pos_weight": lambda: nn.BCEWithLogitsLoss(),
    "eps": lambda: nn.PoissonNLLLoss(),
    "log_target": lambda: nn.KLDivLoss(),
    "quantiles": lambda: nn.QuantileLoss([0.5]),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_would_not_be_looked_at_any_more_cannot_be_set(name):
    criterion = SETTINGS[name]()
    before = getattr(criterion, name)
    with pytest.raises(AttributeError, match=f"keeps the {name} that it was built with, .* build another loss"):
        setattr(criterion, name, 0.5)
    assert getattr(criterion, name) is before


def test_a_loss_of_the_users_sets_attributes_of_its_own_as_it_likes():
    class Counting(nn.HuberLoss):
        def __init__(self):
            self.calls = 0
            super().__init__(delta=0.5)

        def forward(self, prediction, target):
            self.calls += 1
            return super().forward(prediction, target)

    criterion = Counting()
    criterion(numpy.ones(3), numpy.zeros(3))
    assert criterion.calls == 1

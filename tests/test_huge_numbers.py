"""Numbers beyond what their dtype holds become infinite in silence everywhere, as in PyTorch and in the kernels."""

import numpy as np
import pytest

import fastbp
from fastbp import nn, optim

HUGE = np.finfo(np.float32).max
pytestmark = pytest.mark.filterwarnings("error")


def linear(weight):
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data[...] = weight * np.eye(2, dtype=np.float32)
    return layer


def test_a_residual_block_adds_them():
    block, x = nn.Residual(linear(1)), np.full((3, 2), HUGE)
    assert np.isinf(block(x)).all()
    assert np.isinf(block.predict(x)).all()
    assert np.isinf(block.backward(x.copy())).all()


def test_an_activation_multiplies_them():
    model = nn.Sequential(linear(1), nn.GELU())
    model(np.full((3, 2), 1.5, np.float32))  # where the derivative is above 1
    assert np.isinf(model[1].backward(np.full((3, 2), HUGE))).all()


def test_a_loss_without_a_reduction_multiplies_them():
    criterion, x = nn.L1Loss(reduction="none"), np.full((3, 2), HUGE)
    assert np.isinf(criterion(x, 0 * x, sample_weight=np.full(3, 2, np.float32))).all()
    assert np.isinf(criterion.backward(x)).all()


@pytest.mark.parametrize("metric", ["mae", "r2"])
def test_metrics_of_what_is_not_finite_leave_the_warning_to_the_training(metric):
    model, x = nn.Sequential(linear(1)), np.array([[HUGE, 1], [1, HUGE]], np.float32)
    opt = optim.SGD(model.parameters(), lr=1.0)
    history = fastbp.train_model(
        model, x, -x, x, -x, nn.MSELoss(), opt, 2, 1, metrics=[metric], on_nonfinite="ignore", progress=False
    )
    assert len(history[f"val_{metric}"]) == 2


def test_a_norm_beyond_float32_is_a_number_of_float64():
    layer = linear(1)
    layer.weight.grad = np.full_like(layer.weight.data, HUGE)
    norm = nn.utils.clip_grad_norm_(layer.parameters(), 1.0, norm_type=50.0)
    assert norm == pytest.approx(float(np.float32(HUGE)) * layer.weight.size ** (1 / 50))

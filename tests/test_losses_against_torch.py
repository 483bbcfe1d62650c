"""Values and gradients of every loss are torch's, with every reduction, also where exp would overflow."""

import numpy
import pytest
import torch
from helpers import draw, leaf, tensor
from loss_cases import CASES, Case

from fastbp import nn

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean'")  # torch's advice on KLDivLoss
REDUCTIONS = ("mean", "sum", "none")


def assert_near(actual, expected, dtype, factor=16):
    """Equal to some units in the last place of the largest number."""
    expected = expected.detach().numpy() if isinstance(expected, torch.Tensor) else expected
    eps = factor * numpy.finfo(dtype).eps
    finite = numpy.abs(expected[numpy.isfinite(expected)]) if numpy.ndim(expected) else abs(expected)
    numpy.testing.assert_allclose(actual, expected, rtol=eps, atol=eps * max(1.0, numpy.max(finite, initial=0.0)))


def both(case, reduction, x, y, dtype):
    """Loss and gradient, ours and torch's."""
    criterion, inputs = case.ours(reduction), leaf(x)
    loss, expected = criterion(x, y), case.theirs(reduction, dtype)(inputs, tensor(y))
    grad_output = draw(loss.shape, dtype, seed=9) if reduction == "none" else None
    grad = criterion.backward(grad_output)
    expected.backward(None if grad_output is None else tensor(grad_output))
    return criterion, loss, expected, grad, inputs.grad


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_loss_and_its_gradient_are_torchs(case, reduction, dtype):
    x, y = case.data(dtype)
    criterion, loss, expected, grad, expected_grad = both(case, reduction, x, y, dtype)
    if reduction == "none":
        assert loss.shape == tuple(expected.shape)
        assert loss.dtype == grad.dtype == dtype
    assert_near(loss, expected, dtype, 64 if reduction == "sum" else 16)
    assert_near(grad, expected_grad, dtype)
    numpy.testing.assert_array_equal(criterion.evaluate(x, y), loss)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30, numpy.inf])
@pytest.mark.parametrize("case", [c for c in CASES if c.kind in ("logits", "classes", "soft classes")], ids=str)
def test_logits_of_any_size_do_not_overflow(case, size, dtype):
    x, y = case.data(dtype)
    x[::3, 1], x[1::3, 2] = size, -size
    inputs = leaf(x.astype(numpy.float64))
    expected = case.theirs("none")(inputs, tensor(y.astype(numpy.float64) if y.dtype.kind == "f" else y))
    expected.sum().backward()
    criterion = case.ours("none")
    assert_near(criterion(x, y), expected, dtype)
    assert_near(criterion.backward(numpy.ones(expected.shape, dtype)), inputs.grad, dtype)
    if size <= 1e4:
        assert numpy.isfinite(criterion.evaluate(x, y)).all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nan_in_a_prediction_shows_as_in_torch(case, dtype):
    x, y = case.data(dtype)
    x[2, 1] = numpy.nan
    if case.name == "BCELoss":  # torch refuses NaN there
        assert numpy.isnan(case.ours()(x, y))
        return
    inputs = leaf(x)
    expected = case.theirs("sum", dtype)(inputs, tensor(y))
    expected.backward()
    criterion = case.ours("sum")
    numpy.testing.assert_array_equal(numpy.isnan(criterion(x, y)), numpy.isnan(expected.item()))
    numpy.testing.assert_array_equal(numpy.isnan(criterion.backward()), numpy.isnan(inputs.grad.numpy()))


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "QuantileLoss"], ids=str)
def test_the_derivative_at_a_kink_is_torchs(case, dtype):
    if "classes" in case.kind:
        return
    x, y = case.data(dtype)
    x = y.copy() if case.kind not in ("log probabilities", "rates") else x
    _, loss, expected, grad, expected_grad = both(case, "sum", x, y, dtype)
    assert_near(loss, expected, dtype, 64)
    assert_near(grad, expected_grad, dtype)


def test_a_batchmean_of_divergences_is_torchs(dtype):
    case = Case("KLDivLoss", {}, "log probabilities")
    x, y = case.data(dtype)
    _, loss, expected, grad, expected_grad = both(case, "batchmean", x, y, dtype)
    assert_near(loss, expected, dtype)
    assert_near(grad, expected_grad, dtype)
    weights = numpy.arange(37, dtype=dtype)
    rows = torch.nn.KLDivLoss(reduction="none")(tensor(x), tensor(y)).sum(1).numpy()
    assert_near(case.ours("batchmean")(x, y, weights), (weights * rows).sum() / weights.sum(), dtype)


@pytest.mark.parametrize("shape", [(37, 4), (3, 5, 2), (6,)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("full", [False, True])
def test_a_gaussian_likelihood_and_its_two_gradients_are_torchs(shape, reduction, full, dtype):
    x, y, var = draw(shape, dtype), draw(shape, dtype, 1), numpy.abs(draw(shape, dtype, 2)) + dtype(0.1)
    for variance in [var, var[..., :1].copy(), 0.5] if len(shape) > 1 else [var]:
        criterion, inputs, variances = nn.GaussianNLLLoss(full=full, reduction=reduction), leaf(x), leaf(var)
        given = variances if variance is var else variance if isinstance(variance, float) else tensor(variance)
        expected = torch.nn.GaussianNLLLoss(full=full, reduction=reduction)(inputs, tensor(y), given)
        assert_near(criterion(x, y, variance), expected, dtype)
        grad_output = draw(shape, dtype, 3) if reduction == "none" else None
        expected.backward(None if grad_output is None else tensor(grad_output))
        assert_near(criterion.backward(grad_output), inputs.grad, dtype)
        if variance is var:
            assert_near(criterion.grad_var, variances.grad, dtype, 64)


def test_a_mean_of_ignored_rows_alone_is_nan_without_a_gradient_as_in_torch(dtype):
    x, y = draw((3, 4), dtype), numpy.full(3, -100)
    for name in ("CrossEntropyLoss", "NLLLoss"):
        _, loss, expected, grad, expected_grad = both(Case(name), "mean", x, y, dtype)
        assert numpy.isnan(loss)
        assert numpy.isnan(expected.item())
        numpy.testing.assert_array_equal(grad, 0)
        numpy.testing.assert_array_equal(expected_grad.numpy(), 0)

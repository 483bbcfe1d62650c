"""Weights of rows: each row's loss is multiplied by its weight, and a mean divides by their sum."""

import inspect

import numpy
import pytest
from helpers import assert_unchanged, draw, mlp, snapshot
from loss_cases import CASES, OUTPUTS, Case
from same_bits import assert_same_bits, outcome

import fastbp
from fastbp import nn, optim
from fastbp.nn.losses import Loss

WEIGHTS = numpy.array([0.5, 0.0, 3.0, 1.0, 0.25] * 7 + [2.0, 0.0])


def count_of(criterion, case, y, weights):
    """What a mean divides by: the sum of the weights of what has a loss."""
    if case.kind not in ("classes", "log classes"):
        return weights.sum() * (1 if case.kind == "soft classes" else OUTPUTS)
    own = numpy.ones(OUTPUTS) if criterion.weight is None else criterion.weight
    return (weights * own[y] * (y != criterion.ignore_index)).sum()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_loss_is_multiplied_by_the_weight_of_its_row(case, dtype):
    x, y = case.data(dtype)
    weights, none = WEIGHTS.astype(dtype), case.ours("none")
    values, tolerance = none(x, y).astype("f8"), {"rtol": 1e-5 if dtype == numpy.float32 else 1e-13, "atol": 1e-12}
    grads = none.backward(numpy.ones(values.shape, dtype)).astype("f8")
    column = weights.reshape(-1, *[1] * (values.ndim - 1))
    numpy.testing.assert_allclose(none(x, y, weights), values * column, **tolerance)
    for reduction, divisor in (("sum", 1.0), ("mean", count_of(none, case, y, weights))):
        criterion = case.ours(reduction)
        loss = criterion(x, y, sample_weight=weights)
        numpy.testing.assert_allclose(loss, (values * column).sum() / divisor, **tolerance)
        grad = criterion.backward()
        numpy.testing.assert_allclose(grad, grads * weights[:, None] / divisor, **{**tolerance, "atol": 1e-8})
        assert criterion.evaluate(x, y, weights) == loss


@pytest.mark.parametrize("case", CASES, ids=str)
def test_weights_of_one_are_no_weights(case):
    x, y = case.data(numpy.float64)
    plain, weighted = case.ours(), case.ours()
    numpy.testing.assert_allclose(weighted(x, y, numpy.ones(len(x))), plain(x, y), rtol=1e-14)
    numpy.testing.assert_allclose(weighted.backward(), plain.backward(), rtol=1e-14, atol=1e-18)


def test_rows_without_weight_have_no_loss_and_no_gradient(dtype):
    x, y = draw((5, 3), dtype), draw((5, 3), dtype, seed=1)
    for criterion in (nn.MSELoss(), nn.HuberLoss(), nn.GaussianNLLLoss()):
        more = (numpy.ones_like(x),) if isinstance(criterion, nn.GaussianNLLLoss) else ()
        assert criterion(x, y, *more, sample_weight=numpy.zeros(5, dtype)) == 0.0
        numpy.testing.assert_array_equal(criterion.backward(), 0)


def test_a_row_of_more_dimensions_has_one_weight(dtype):
    x, y, weights = draw((4, 3, 2), dtype), draw((4, 3, 2), dtype, seed=1), numpy.arange(4, dtype=dtype)
    expected = (weights[:, None, None] * (x - y) ** 2).sum() / (weights.sum() * 6)
    numpy.testing.assert_allclose(nn.MSELoss()(x, y, weights), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("weights", "error", "sentence"),
    [
        (numpy.ones(36), ValueError, r"weight for each row, shape \(37,\), got \(36,\)"),
        (numpy.ones((37, 1)), ValueError, r"weight for each row, shape \(37,\), got \(37, 1\)"),
        (numpy.full(37, -1.0), ValueError, r"finite sample_weight of 0 or more, got -1"),
        (numpy.full(37, numpy.nan), ValueError, r"finite sample_weight of 0 or more, got nan"),
        (numpy.full(37, numpy.inf), ValueError, r"finite sample_weight of 0 or more, got inf"),
        (numpy.ones(37, numpy.float32), TypeError, r"float64.*float32"),
        ([1.0] * 37, TypeError, "NumPy array, got list"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(weights, error, sentence):
    x, y = Case("MSELoss").data(numpy.float64)
    with pytest.raises(error, match="MSELoss.*" + sentence):
        nn.MSELoss()(x, y, weights)
    model = mlp(OUTPUTS, OUTPUTS, dtype=numpy.float64)
    before, opt = snapshot(model), optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(error, match="train_model.*" + sentence):
        fastbp.train_model(model, x, y, None, None, nn.MSELoss(), opt, 1, 5, sample_weight=weights)
    assert_unchanged(model, before)


def test_a_training_without_any_weight_is_refused():
    x, y = Case("MSELoss").data(numpy.float64)
    model = mlp(OUTPUTS, OUTPUTS, dtype=numpy.float64)
    opt, zeros = optim.SGD(model.parameters(), lr=0.1), numpy.zeros(37)
    with pytest.raises(ValueError, match="sample_weight with a weight above 0 for one row or more, got zeros only"):
        fastbp.train_model(model, x, y, None, None, nn.MSELoss(), opt, 1, 5, sample_weight=zeros)
    with pytest.raises(ValueError, match="val_sample_weight together with val_input and val_target"):
        fastbp.train_model(model, x, y, None, None, nn.MSELoss(), opt, 1, 5, val_sample_weight=zeros)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_engine_gives_the_bits_of_the_modules_with_weights(case, dtype):
    _, y = case.data(dtype)
    inputs, weights = draw((37, 5), dtype, seed=5), WEIGHTS.astype(dtype)
    last = [nn.Sigmoid()] if case.kind in ("probabilities", "rates") else []
    for shuffle, threads in ((False, 1), (True, 2)):
        fastbp.set_num_threads(threads)
        ends = []
        for own in (False, True):
            layers = nn.Linear(5, 9, rng=0, dtype=dtype), nn.Tanh(), nn.Linear(9, OUTPUTS, rng=1, dtype=dtype), *last
            model, criterion = nn.Sequential(*layers), case.ours()
            if own:
                criterion.__class__ = type("Own", (type(criterion),), {})
            opt = optim.Adam(model.parameters(), lr=0.01)
            history = fastbp.train_model(
                model, inputs, y, inputs, y, criterion, opt, 3, 2, sample_weight=weights,
                val_sample_weight=weights[::-1].copy(), shuffle=shuffle, rng=4 if shuffle else None,
            )  # fmt: skip
            assert history.backend == ("modules" if own else "engine")
            ends.append(outcome(model, history))
        assert_same_bits(*ends)
        criterion = case.ours()
        expected = criterion.evaluate(model.predict(inputs), y, weights[::-1].copy())
        assert history["val_loss"][-1] == expected


def test_many_rows_with_weights_are_trained_alike_by_any_number_of_threads(dtype):
    n = 1500
    x, y, weights = draw((n, 5), dtype), draw((n, 3), dtype, seed=1), numpy.arange(n, dtype=dtype) % 5
    ends = []
    for threads in (1, 2, 3):
        fastbp.set_num_threads(threads)
        for size in (700, n):
            model = mlp(5, 17, 3, dtype=dtype)
            opt = optim.Adam(model.parameters(), lr=0.01)
            history = fastbp.train_model(
                model, x, y, x, y, nn.HuberLoss(), opt, 2, size, sample_weight=weights, shuffle=True, rng=1
            )
            ends.append(outcome(model, history))
    for k in (2, 4):
        assert_same_bits(ends[0], ends[k])
        assert_same_bits(ends[1], ends[k + 1])


def test_a_criterion_of_the_users_own_gets_the_weights_or_is_refused():
    class Weighted(Loss):
        def forward(self, prediction, target, sample_weight=None):
            column = 1 if sample_weight is None else sample_weight[:, None]
            self.grad = 2 * (prediction - target) * column
            return float((column * (prediction - target) ** 2).sum())

        def backward(self):
            return self.grad

    class Unweighted(Loss):
        def forward(self, prediction, target):
            raise AssertionError("it is refused before")

        def backward(self):
            raise AssertionError

    x, y = Case("MSELoss").data(numpy.float64)
    ends = []
    for kind in (Weighted, nn.MSELoss):
        model = mlp(OUTPUTS, OUTPUTS, dtype=numpy.float64)
        opt = optim.SGD(model.parameters(), lr=0.001)
        fastbp.train_model(model, x, y, None, None, kind(reduction="sum"), opt, 3, 5, sample_weight=WEIGHTS)
        ends.append(model[0].weight.data.copy())
    numpy.testing.assert_allclose(*ends, rtol=1e-12)
    with pytest.raises(TypeError, match="a criterion whose forward takes sample_weight, got Unweighted; give its"):
        fastbp.train_model(model, x, y, None, None, Unweighted(), opt, 3, 5, sample_weight=WEIGHTS)


def test_every_loss_takes_weights():
    for name in nn.__all__:
        if name.endswith("Loss"):
            assert "sample_weight" in inspect.signature(getattr(nn, name).forward).parameters

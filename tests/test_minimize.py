"""SciPy's minimisers over a model: the minimum, what is frozen, what is left after an error."""

import signal
import sys

import numpy
import pytest
from helpers import draw, mlp, snapshot

from fastbp import nn, optim

F64 = numpy.float64


def data(dtype=F64):
    return draw((30, 4), dtype), draw((30, 2), dtype, seed=1)


def test_the_minimum_of_a_linear_model_is_that_of_least_squares():
    x, target = data()
    model = nn.Sequential(nn.Linear(4, 2, rng=0, dtype=F64))
    result = optim.minimize(model, nn.MSELoss(), (x, target), tol=1e-14)
    expected, *_ = numpy.linalg.lstsq(numpy.column_stack([x, numpy.ones(30)]), target, rcond=None)
    numpy.testing.assert_allclose(model[0].weight.data, expected[:4].T, atol=1e-6)
    numpy.testing.assert_allclose(model[0].bias.data, expected[4], atol=1e-6)
    assert result.success
    assert result.fun == nn.MSELoss()(model(x), target)


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "CG"])
def test_every_method_lowers_the_loss_and_leaves_the_model_at_its_result(method, dtype):
    x, target = data(dtype)
    model, losses = mlp(4, 16, 2, dtype=dtype), []
    before = nn.MSELoss()(model.predict(x), target)
    result = optim.minimize(
        model, nn.MSELoss(), (x, target), method, options={"maxiter": 30}, callback=lambda x: losses.append(None)
    )
    assert nn.MSELoss()(model.predict(x), target) <= result.fun * (1 + 1e-6) < before / 2
    assert len(losses) == result.nit
    parameters = numpy.concatenate([parameter.data.ravel() for parameter in model.parameters()])
    numpy.testing.assert_array_equal(parameters, result.x.astype(dtype))


def test_what_is_frozen_stays():
    model = mlp(4, 16, 2, dtype=F64)
    model[0].requires_grad_(False)
    before = snapshot(model)
    optim.minimize(model, nn.MSELoss(), data(), options={"maxiter": 5})
    for name, (values, _) in snapshot(model).items():
        assert numpy.array_equal(values, before[name][0]) == name.startswith("0.")


def test_after_an_error_the_parameters_are_as_they_were():
    model = mlp(4, 16, 2, dtype=F64)
    before = snapshot(model)

    def stop(x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        optim.minimize(model, nn.MSELoss(), data(), callback=stop)
    x, target = data()
    for arguments, match in [
        ((model, nn.MSELoss(), x), "minimize takes data as a pair of inputs and targets, got ndarray"),
        ((model, nn.MSELoss(), (x[:, 1:], target)), r"Linear\(4, 16\) takes inputs of shape"),
        (
            (model, "MSE", (x, target)),
            r"minimize takes criterion as an object with forward\(\) and backward\(\), got 'MSE'",
        ),
        (("model", nn.MSELoss(), (x, target)), r"minimize takes a fastbp\.nn\.Module as model, got str"),
        (
            (nn.Tanh(), nn.MSELoss(), (x, target)),
            "minimize takes a model with parameters that are not frozen, got none",
        ),
        ((model, nn.MSELoss(), (x, target), "Newton's"), "Unknown solver"),
    ]:
        with pytest.raises((TypeError, ValueError), match=match):
            optim.minimize(*arguments)
    for name, (values, _) in snapshot(model).items():
        numpy.testing.assert_array_equal(values, before[name][0])


class Interrupting(nn.MSELoss):
    """Ctrl-C comes in the forward of this number."""

    def __init__(self, number=-1):
        super().__init__()
        self.number, self.calls = number, 0

    def forward(self, *arrays):
        self.calls += 1
        if self.calls == self.number:
            signal.raise_signal(signal.SIGINT)
        return super().forward(*arrays)


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "CG", "SLSQP", "trust-constr"])
@pytest.mark.parametrize("form", ["none", "point", "result"])
def test_ctrl_c_leaves_the_model_at_the_last_iterate(method, form):
    model, criterion, iterates, told = mlp(4, 16, 2, dtype=F64), Interrupting(), [], []
    begin = numpy.concatenate([parameter.data.ravel() for parameter in model.parameters()])
    optim.minimize(
        model, criterion, data(), method, options={"maxiter": 6},
        callback=lambda x, *state: iterates.append((criterion.calls, numpy.copy(x))),
    )  # fmt: skip
    callback = {
        "none": None, "point": lambda x, *state: told.append(x),
        "result": lambda intermediate_result: told.append(intermediate_result.x),
    }[form]  # fmt: skip
    for number in (1, iterates[0][0] + 1, iterates[3][0] + 1):
        model = mlp(4, 16, 2, dtype=F64)
        with pytest.raises(KeyboardInterrupt):
            optim.minimize(model, Interrupting(number), data(), method, options={"maxiter": 6}, callback=callback)
        expected = [x for calls, x in iterates if calls < number]
        parameters = numpy.concatenate([parameter.data.ravel() for parameter in model.parameters()])
        numpy.testing.assert_array_equal(parameters, expected[-1] if expected else begin)
    assert len(told) == (0 if form == "none" else 5)


@pytest.mark.parametrize("kind", [nn.MSELoss, nn.HuberLoss])
def test_a_weight_of_two_is_a_row_that_is_there_twice(kind):
    x, target = data()
    weights = numpy.random.default_rng(0).integers(0, 3, 30).astype(F64)
    ends = []
    for rows, options in (((x, target), {"sample_weight": weights}), ((x.repeat(weights.astype(int), 0),
                          target.repeat(weights.astype(int), 0)), {})):  # fmt: skip
        model = nn.Sequential(nn.Linear(4, 2, rng=0, dtype=F64))
        result = optim.minimize(model, kind(), rows, tol=1e-14, **options)
        ends.append((result.fun, model[0].weight.data, model[0].bias.data))
    for mine, other in zip(*ends, strict=True):
        numpy.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-7)


def test_wrong_weights_are_refused_and_nothing_changes():
    class Own:
        def forward(self, prediction, target):
            raise AssertionError

        backward = forward

    model = mlp(4, 16, 2, dtype=F64)
    before = snapshot(model)
    for criterion, weights, match in [
        (Own(), numpy.ones(30), r"minimize takes sample_weight with a criterion whose forward takes sample_weight"),
        (nn.MSELoss(), numpy.ones(29), r"a weight for each row, shape \(30,\)"),
        (nn.MSELoss(), -numpy.ones(30), "sample_weight"),
        (nn.MSELoss(), numpy.ones(30, "f4"), "sample_weight"),
    ]:
        with pytest.raises((TypeError, ValueError), match=match):
            optim.minimize(model, criterion, data(), sample_weight=weights)
    for name, (values, _) in snapshot(model).items():
        numpy.testing.assert_array_equal(values, before[name][0])


def test_without_scipy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r'minimize needs SciPy: pip install "fastbp\[scipy\]"'):
        optim.minimize(mlp(4, 2), nn.MSELoss(), data())

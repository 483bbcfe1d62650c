"""SciPy's minimisers over a model: the minimum, what is frozen, what is left after an error."""

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


def test_without_scipy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r'minimize needs SciPy: pip install "fastbp\[scipy\]"'):
        optim.minimize(mlp(4, 2), nn.MSELoss(), data())

"""What SGD moves, and what it leaves; its steps against the oracle."""

import numpy
import oracles
import pytest
import torch
from helpers import (
    assert_close,
    assert_same_parameters,
    assert_unchanged,
    draw,
    mlp,
    oracle_network,
    snapshot,
    tensor,
    twin,
)

from fastbp import nn, optim


def set_gradients(model, other, seed):
    for index, (mine, theirs) in enumerate(zip(model.parameters(), other.parameters(), strict=True)):
        mine.grad = draw(mine.shape, mine.dtype, seed=100 * seed + index)
        theirs.grad = tensor(mine.grad)


def test_a_step_agrees_with_the_oracle():
    model = mlp(5, 7, 3, dtype=numpy.float64)
    set_gradients(model, twin(model), seed=0)
    pairs = [(layer.weight.grad, layer.bias.grad) for layer in (model[0], model[2])]
    expected = oracles.sgd(oracle_network(model), pairs, 0.3)
    optim.SGD(model.parameters(), lr=0.3).step()
    for layer, (weight, bias) in [(model[0], expected[0]), (model[2], expected[2])]:
        numpy.testing.assert_allclose(layer.weight.data, weight, rtol=1e-15, atol=1e-16)
        numpy.testing.assert_allclose(layer.bias.data, bias, rtol=1e-15, atol=1e-16)


def test_a_step_leaves_the_gradients_as_they_are(dtype):
    model = mlp(5, 7, 3, dtype=dtype)
    set_gradients(model, twin(model), seed=0)
    before = {name: grad for name, (_, grad) in snapshot(model).items()}
    optim.SGD(model.parameters(), lr=0.3).step()
    for name, (_, grad) in snapshot(model).items():
        numpy.testing.assert_array_equal(grad, before[name])


def test_only_the_given_parameters_move_and_are_zeroed(dtype):
    model = mlp(5, 7, 4, 3, dtype=dtype)
    set_gradients(model, twin(model), seed=0)
    before = snapshot(model)
    chosen = {"0.bias", "4.weight"}
    opt = optim.SGD([p for name, p in model.named_parameters() if name in chosen], lr=0.3)
    opt.step()
    opt.zero_grad()
    for name, (data, grad) in snapshot(model).items():
        assert numpy.array_equal(data, before[name][0]) == (name not in chosen), name
        assert (grad is None) == (name in chosen), name


def test_the_layers_of_two_models_can_share_an_optimiser():
    one, two = mlp(5, 3), nn.Linear(3, 2)
    opt = optim.SGD([*one.parameters(), *two.parameters()], lr=1.0)
    for parameter in [*one.parameters(), *two.parameters()]:
        parameter.grad = parameter.data
    opt.step()
    for parameter in [*one.parameters(), *two.parameters()]:
        assert not parameter.data.any()


def test_an_optimiser_made_before_the_model_still_moves_its_parameters():
    layer = nn.Linear(3, 2)
    opt = optim.SGD(layer.parameters(), lr=1.0)
    opt.step()
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), layer)
    model[2].weight.grad = model[2].weight.data
    opt.step()
    assert not model[2].weight.data.any()
    opt.zero_grad()
    assert model[2].weight.grad is None


def test_a_parameter_given_twice_moves_once():
    layer = nn.Linear(3, 2)
    layer.weight.grad = layer.weight.data
    optim.SGD([layer.weight, layer.weight], lr=0.5).step()
    numpy.testing.assert_array_equal(layer.weight.data, nn.Parameter(layer.weight.grad / 2).data)


def test_zero_grad_of_an_optimiser_sets_every_gradient_to_none(dtype):
    model = mlp(5, 7, 3, dtype=dtype)
    set_gradients(model, twin(model), seed=0)
    optim.SGD(model.parameters(), lr=0.1).zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_nan_gradients_show_in_the_parameters(dtype):
    layer = nn.Linear(3, 2, rng=0, dtype=dtype)
    layer.weight.note_grad()
    layer.weight.grad[0, 1] = numpy.nan
    optim.SGD(layer.parameters(), lr=0.1).step()
    assert numpy.isnan(layer.weight.data).sum() == 1
    assert numpy.isnan(layer.weight.data[0, 1])


def test_the_learning_rate_can_be_changed_between_steps(dtype):
    model = mlp(5, 3, dtype=dtype)
    other = twin(model)
    opt, theirs = optim.SGD(model.parameters(), lr=0.1), torch.optim.SGD(other.parameters(), lr=0.1)
    for seed, lr in enumerate((0.1, 0.02, 0.3)):
        opt.lr = theirs.param_groups[0]["lr"] = lr
        set_gradients(model, other, seed)
        opt.step()
        theirs.step()
        assert_same_parameters(model, other)


def test_a_step_calls_its_closure_first_and_returns_its_value_as_in_torch(dtype):
    model = mlp(5, 7, 3, dtype=dtype)
    other, x, target = twin(model), draw((6, 5), dtype), draw((6, 3), dtype, seed=1)
    criterion, opt = nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1)
    theirs = torch.optim.SGD(other.parameters(), lr=0.1)

    def closure():
        opt.zero_grad()
        loss = criterion(model(x), target)
        model.backward(criterion.backward())
        return loss

    def torchs_closure():
        theirs.zero_grad()
        loss = torch.nn.functional.mse_loss(other(tensor(x)), tensor(target))
        loss.backward()
        return loss

    for _ in range(3):
        assert_close(numpy.asarray(opt.step(closure), dtype), theirs.step(torchs_closure))
        assert_same_parameters(model, other)
    assert opt.step() is None
    assert opt.step(closure=None) is None


def test_a_step_whose_closure_fails_or_is_none_moves_nothing():
    model = mlp(5, 3)
    opt = optim.SGD(model.parameters(), lr=0.1)
    set_gradients(model, twin(model), seed=0)
    before = snapshot(model)
    with pytest.raises(ZeroDivisionError):
        opt.step(lambda: 1 / 0)
    with pytest.raises(TypeError, match=r"SGD\.step takes closure as a function or None, got float"):
        opt.step(0.5)
    assert_unchanged(model, before)

"""A parameter has no gradient, None, until a backward reaches it, as in PyTorch."""

import copy
import pickle

import numpy
import pytest
import torch
from helpers import draw, mlp, tensor, twin
from numpy.testing import assert_array_equal

import fastbp
from fastbp import nn, optim
from fastbp.nn.layer_classes import LAYER_CLASSES

F32 = numpy.float32


def each_layer():
    return nn.Sequential(
        nn.Linear(5, 4, rng=0), nn.BatchNorm1d(4), nn.PReLU(), nn.LayerNorm(4), nn.Residual(nn.Linear(4, 4, rng=1)),
        nn.Linear(4, 3, rng=2),
    )  # fmt: skip


def run_backward(model, seed=0):
    model.backward(model(draw((7, 5), F32, seed)))


def grads(model):
    return [parameter.grad for parameter in model.parameters()]


def has_none(model):
    return all(grad is None for grad in grads(model))


WAYS_TO_CLEAR = {
    "the model's": lambda model: model.zero_grad(),
    "the optimiser's": lambda model: optim.SGD(model.parameters()).zero_grad(),
    "each parameter's": lambda model: [parameter.zero_grad() for parameter in model.parameters()],
    "set to None": lambda model: [setattr(parameter, "grad", None) for parameter in model.parameters()],
    "by name": lambda model: model.zero_grad(set_to_none=True),
}


@pytest.mark.parametrize("build", [lambda: mlp(5, 4, 3), each_layer], ids=["in one call", "each layer"])
@pytest.mark.parametrize("clear", WAYS_TO_CLEAR)
def test_gradients_are_none_at_first_and_after_each_zero_grad(clear, build):
    model, other = build(), build()
    assert has_none(model)
    run_backward(model)
    assert all(grad is not None for grad in grads(model))
    run_backward(other)
    WAYS_TO_CLEAR[clear](model)
    assert has_none(model)
    run_backward(model)
    for mine, theirs in zip(grads(model), grads(other), strict=True):
        assert_array_equal(mine, theirs, "a gradient begins anew")


def of_optimizer(model, **options):
    optim.Adam(model.parameters()).zero_grad(**options)


@pytest.mark.parametrize("clear", [nn.Module.zero_grad, of_optimizer])
def test_zero_grad_to_zeros_leaves_none_where_there_is_none_as_in_torch(clear):
    model = mlp(5, 4, 3)
    other = twin(model)
    model[0].weight.grad = model[0].weight.data
    other[0].weight.grad = tensor(model[0].weight.data)
    clear(model, set_to_none=False)
    other.zero_grad(set_to_none=False)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None)
    assert_array_equal(model[0].weight.grad, numpy.zeros((4, 5), F32))


@pytest.mark.parametrize("parameters_only", [False, True])
def test_only_what_a_backward_reaches_has_a_gradient(parameters_only):
    model = nn.ModuleList([mlp(5, 4, 3), mlp(5, 4, 3)])
    output = model[1](draw((7, 5), F32))
    (model[1].backward_parameters if parameters_only else model[1].backward)(output)
    assert has_none(model[0])
    assert not any(grad is None for grad in grads(model[1]))


@pytest.mark.parametrize("build", [lambda: mlp(5, 4, 3), each_layer], ids=["in one call", "each layer"])
def test_frozen_parameters_stay_without_a_gradient_and_freezing_keeps_one(build):
    model = build()
    frozen = list(model.parameters())[::2]
    for parameter in frozen:
        parameter.requires_grad_(False)
    run_backward(model)
    for parameter in model.parameters():
        assert (parameter.grad is None) == (parameter in frozen)
    kept = grads(model)[1].copy()
    model.requires_grad_(False)
    assert_array_equal(grads(model)[1], kept)
    model.zero_grad()
    assert has_none(model)


@pytest.mark.parametrize("name", LAYER_CLASSES)
def test_a_backward_of_every_layer_reaches_its_parameters_but_frozen_ones(name):
    for frozen in (False, True):
        layer = LAYER_CLASSES[name].build_example(numpy.dtype(F32))
        for parameter in list(layer.parameters())[:1]:
            parameter.requires_grad = not frozen
        dtype = numpy.int64 if LAYER_CLASSES[name].takes_indices else F32
        output = layer(numpy.zeros((2, 2), dtype))
        layer.backward(numpy.zeros_like(output))
        assert [grad is not None for grad in grads(layer)] == [not frozen, *[True] * 9][: len(grads(layer))]


def test_a_gradient_may_be_set_and_added_to():
    parameter = nn.Parameter(numpy.ones(3, F32))
    parameter.add_grad(numpy.arange(3, dtype=F32))
    parameter.add_grad(numpy.ones(3, F32))
    assert_array_equal(parameter.grad, [1, 2, 3])
    parameter.grad = numpy.full(3, 5, F32)
    parameter.grad *= 2
    assert_array_equal(parameter.grad, [10, 10, 10])
    parameter.requires_grad = False
    parameter.add_grad(numpy.ones(3, F32))
    assert_array_equal(parameter.grad, [10, 10, 10])
    with pytest.raises(ValueError, match=r"Parameter\.add_grad has shape \(3,\), got \(2,\)"):
        parameter.add_grad(numpy.ones(2, F32))


def reloaded(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("copied", [copy.deepcopy, reloaded])
def test_copies_and_pickles_have_no_gradients_as_in_torch(copied):
    model = mlp(5, 4, 3)
    run_backward(model)
    theirs = torch.nn.Linear(5, 4)
    theirs(torch.ones(2, 5)).sum().backward()
    assert copied(theirs).weight.grad is None
    assert has_none(copied(model))
    assert not copied(model)[0].weight.kernel_grad.any()
    assert not has_none(model)


@pytest.mark.parametrize("change", [copy.copy, nn.Module.double, nn.Sequential])
def test_shallow_copies_and_conversions_keep_which_parameters_have_a_gradient(change):
    model = mlp(5, 4, 3)
    model[0].weight.grad = draw((4, 5), F32)
    changed = change(model)
    expected = [True, False, False, False]
    assert [grad is not None for grad in grads(changed)] == expected
    assert_array_equal(grads(changed)[0], draw((4, 5), F32))
    run_backward_of = changed.double()
    run_backward_of.backward(run_backward_of(draw((7, 5), numpy.float64)))
    assert all(grad is not None for grad in grads(changed))


def test_tied_parameters_have_one_gradient():
    one, two = nn.Linear(3, 3, rng=0), nn.Linear(3, 3, rng=1)
    two.weight = one.weight
    one.backward(one(numpy.ones((2, 3), F32)))
    assert two.weight.grad is not None
    assert two.bias.grad is None
    two.zero_grad()
    assert one.weight.grad is None


def test_a_state_dictionary_and_a_file_hold_no_gradients(tmp_path):
    model, other = mlp(5, 4, 3), mlp(5, 4, 3)
    run_backward(model)
    other.load_state_dict(model.state_dict())
    assert has_none(other)
    fastbp.save(tmp_path / "model.npz", model)
    assert has_none(fastbp.load(tmp_path / "model.npz").model)


@pytest.mark.parametrize("kind", [nn.MSELoss, type("Own", (nn.MSELoss,), {})], ids=["engine", "modules"])
@pytest.mark.parametrize("opt", [optim.SGD, optim.Adam])
def test_a_training_leaves_the_gradients_of_its_last_mini_batch(opt, kind):
    x, y = draw((23, 5), F32), draw((23, 3), F32, 1)
    model, other = mlp(5, 4, 3), mlp(5, 4, 3)
    model[0].bias.grad = numpy.ones(4, F32)
    model[0].bias.requires_grad = other[0].bias.requires_grad = False
    history = fastbp.train_model(model, x, y, None, None, kind(), opt(model.parameters(), lr=0.1), 2, 10)
    assert history.backend == ("engine" if kind is nn.MSELoss else "modules")
    theirs, criterion = opt(other.parameters(), lr=0.1), nn.MSELoss()
    for _ in range(2):
        for start in (0, 10, 20):
            criterion(other(x[start : start + 10]), y[start : start + 10])
            theirs.zero_grad()
            other.backward(criterion.backward())
            theirs.step()
    for mine, expected in zip(grads(model), grads(other), strict=True):
        assert_array_equal(mine, expected)
    assert model[0].bias.grad is None


@pytest.mark.parametrize("kind", [nn.MSELoss, type("Own", (nn.MSELoss,), {})], ids=["engine", "modules"])
def test_a_training_of_no_epoch_leaves_gradients_as_they_are(kind):
    x, y, model = draw((23, 5), F32), draw((23, 3), F32, 1), mlp(5, 4, 3)
    model[0].bias.grad = numpy.ones(4, F32)
    fastbp.train_model(model, x, y, None, None, kind(), optim.SGD(model.parameters()), 0, 10)
    assert [grad is None for grad in grads(model)] == [True, False, True, True]


@pytest.mark.parametrize("way", ["one call", "modules"])
def test_a_jacobian_leaves_gradients_as_they_are(way):
    model = mlp(5, 4, 3) if way == "one call" else each_layer()
    model(draw((7, 5), F32))
    first = next(model.parameters())
    first.grad = numpy.ones((4, 5), F32)
    fastbp.jacobian(model, draw((2, 5), F32))
    assert [grad is None for grad in grads(model)] == [False] + [True] * (len(grads(model)) - 1)
    assert_array_equal(grads(model)[0], numpy.ones((4, 5), F32))
    first.grad = None
    assert not first.storage.grad.any()


def test_reached_parameters_equal_those_of_torch_over_heads_in_turn():
    body, heads = nn.Linear(5, 4, rng=0), [nn.Linear(4, 2, rng=1), nn.Linear(4, 3, rng=2)]
    others = [fastbp.to_torch(module) for module in (body, *heads)]
    for step, chosen in enumerate((0, 0, 1)):
        x = draw((6, 5), F32, step)
        ours = heads[chosen](body(x))
        body.backward(heads[chosen].backward(ours))
        theirs = others[1 + chosen](others[0](tensor(x)))
        theirs.backward(theirs.detach())
        for module, other in zip((body, *heads), others, strict=True):
            for mine, expected in zip(module.parameters(), other.parameters(), strict=True):
                assert (mine.grad is None) == (expected.grad is None)
                if mine.grad is not None:
                    torch.testing.assert_close(tensor(mine.grad), expected.grad)

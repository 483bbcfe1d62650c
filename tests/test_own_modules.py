"""A user's own modules, written in Python, inside the library's; names, order and repr of the parts."""

import copy

import numpy
import pytest
import torch
from helpers import assert_close, draw, leaf, mlp, owner, tensor

import fastbp
from fastbp import nn, optim


class Scale(nn.Module):
    """Multiplies each feature by a trainable factor, as a user would write it."""

    def __init__(self, features, dtype):
        super().__init__()
        self.factor = nn.Parameter(numpy.linspace(0.5, 2.0, features).astype(dtype))

    def forward(self, input):
        self.input = input
        return input * self.factor.data

    def backward(self, grad_output):
        self.factor.add_grad((grad_output * self.input).sum(axis=0))
        return grad_output * self.factor.data


class TorchScale(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = torch.nn.Parameter(tensor(factor))

    def forward(self, input):
        return input * self.factor


def build_both(dtype):
    first, last = nn.Linear(5, 4, rng=0, dtype=dtype), nn.Linear(4, 2, rng=1, dtype=dtype)
    model = nn.Sequential(first, nn.Tanh(), Scale(4, dtype), last)
    other = torch.nn.Sequential(
        fastbp.to_torch(nn.Sequential(first, nn.Tanh())), TorchScale(model[2].factor.data), fastbp.to_torch(last)
    )
    return model, other


def test_a_users_module_in_a_sequential_equals_torch(dtype):
    model, other = build_both(dtype)
    x = draw((7, 5), dtype)
    theirs, grad_output = leaf(x), draw((7, 2), dtype, seed=1)
    expected = other(theirs)
    expected.backward(tensor(grad_output))
    assert_close(model(x), expected)
    assert_close(model.backward(grad_output), theirs.grad)
    for mine, other_parameter in zip(model.parameters(), other.parameters(), strict=True):
        assert_close(mine.grad, other_parameter.grad)


def test_a_users_parameter_lies_in_the_flat_vector_of_the_model(dtype):
    model, _ = build_both(dtype)
    assert numpy.shares_memory(model[2].factor.data, owner(model[0].weight.data))
    assert "2.factor" in model.state_dict()


def test_train_model_trains_a_users_module_as_torch_does():
    model, other = build_both(numpy.float64)
    x, target = draw((23, 5), numpy.float64), draw((23, 2), numpy.float64, seed=1)
    fastbp.train_model(
        model, x, target, None, None, nn.MSELoss(reduction="sum"), optim.SGD(model.parameters(), lr=0.01), 3, 5
    )
    opt = torch.optim.SGD(other.parameters(), lr=0.01)
    for _ in range(3):
        for rows, targets in zip(tensor(x).split(5), tensor(target).split(5), strict=True):
            opt.zero_grad()
            torch.nn.functional.mse_loss(other(rows), targets, reduction="sum").backward()
            opt.step()
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert_close(mine.data, theirs)


def test_a_users_module_of_modules_registers_its_children():
    class Pair(nn.Module):
        def __init__(self):
            self.gain = nn.Parameter(numpy.ones(1, numpy.float32))
            self.left = nn.Linear(3, 2)
            self.right = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
            self.note = "neither parameter nor module"

    names = [name for name, _ in Pair().named_parameters()]
    assert names == ["gain", "left.weight", "left.bias", "right.0.weight", "right.0.bias"]


def test_parameters_come_in_the_order_of_the_layers():
    model = nn.Sequential(mlp(5, 4, 3), nn.ReLU(), nn.Linear(3, 2, bias=False))
    names = [name for name, _ in model.named_parameters()]
    assert names == ["0.0.weight", "0.0.bias", "0.2.weight", "0.2.bias", "2.weight"]
    assert [id(p) for p in model.parameters()] == [id(p) for _, p in model.named_parameters()]


def test_a_module_without_forward_or_backward_names_what_is_missing():
    class Nothing(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match=r"Nothing .*forward"):
        Nothing()(numpy.ones(3, numpy.float32))
    with pytest.raises(RuntimeError, match=r"Nothing\.backward needs a forward before it"):
        Nothing().backward(numpy.ones(3, numpy.float32))


def test_a_sequential_can_be_counted_indexed_and_iterated():
    layers = [nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)]
    model = nn.Sequential(*layers)
    assert len(model) == 3
    assert list(model) == layers
    assert model[0] is layers[0]
    assert model[-1] is layers[-1]


def test_repr_names_every_layer_with_its_sizes_as_torch_does():
    inner = nn.Sequential(nn.ReLU(), nn.Tanh())
    model = nn.Sequential(nn.Linear(2, 25), inner, nn.Sigmoid(), nn.Linear(25, 2, bias=False))
    for part in ("Sequential(", "(0): Linear(", "(1): Sequential(", "ReLU()", "Tanh()", "Sigmoid()", "(3): Linear("):
        assert part in repr(model)
    for number in ("2", "25"):
        assert number in repr(model[0])
    assert repr(model[0]) != repr(nn.Linear(2, 25, bias=False)), "a missing bias can be read"
    assert "sum" in repr(nn.MSELoss(reduction="sum"))


@pytest.mark.parametrize("module", [nn.Linear(3, 3), nn.ReLU()], ids=repr)
def test_a_subclass_predicts_by_its_own_forward(module):
    class Doubling(type(module)):
        def forward(self, input):
            return 2 * super().forward(input)

    doubling = copy.deepcopy(module)
    doubling.__class__ = Doubling
    x = draw((5, 3), numpy.float32)
    numpy.testing.assert_array_equal(doubling.predict(x), 2 * module.predict(x))
    model = nn.Sequential(doubling, nn.ReLU())
    numpy.testing.assert_array_equal(model.predict(x), model(x))


def test_a_parameter_is_not_replaced_by_an_array_unnoticed_as_in_torch():
    ours, theirs = Scale(3, numpy.float32), TorchScale(numpy.ones(3, numpy.float32))
    with pytest.raises(TypeError, match=r"Scale\.factor is a Parameter, got Tensor in its place; .*factor\.data"):
        ours.factor = ours.factor * 2
    with pytest.raises(TypeError, match="cannot assign"):
        theirs.factor = theirs.factor * 2
    ours.factor = None
    assert list(ours.parameters()) == []


class Doubled(nn.Sequential):
    """Twice what its modules return."""

    def forward(self, input):
        return 2 * super().forward(input)

    def backward(self, grad_output):
        return super().backward(2 * grad_output)


def doubled(*behind):
    layers = nn.Linear(5, 4, rng=0), nn.BatchNorm1d(4), nn.Dropout(0.5, rng=1), nn.Linear(4, 2, rng=2)
    return Doubled(*layers, *behind)


def test_a_users_forward_predicts_as_an_evaluated_model_and_leaves_the_mode_and_the_statistics():
    model, x = doubled(), draw((7, 5), numpy.float32)
    for _ in range(3):
        model(x)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    prediction, again = model.predict(x), model.predict(x[:1])
    assert all(module.training for module in model.modules())
    for name, array in model.state_dict().items():
        numpy.testing.assert_array_equal(array, before[name], err_msg=name)
    model.eval()
    numpy.testing.assert_array_equal(prediction, model(x))
    numpy.testing.assert_array_equal(again, model(x[:1]))
    assert not numpy.array_equal(prediction, model.train()(x))


def test_a_users_forward_that_raises_in_a_prediction_leaves_the_mode():
    class Failing(nn.Module):
        def forward(self, input):
            assert not model[1].training
            raise RuntimeError("no forward")

    model = doubled(Failing())
    with pytest.raises(RuntimeError, match="no forward"):
        model.predict(draw((7, 5), numpy.float32))
    assert all(module.training for module in model.modules())


def test_a_users_model_with_batch_norm_and_dropout_trains_and_validates_by_evaluating():
    x, y = draw((20, 5), numpy.float32), draw((20, 2), numpy.float32, seed=1)
    model = doubled()
    opt = optim.SGD(model.parameters(), lr=0.01)
    history = fastbp.train_model(model, x, y, x, y, nn.MSELoss(), opt, 3, 5, progress=False)
    assert history.backend == "modules"
    assert history["val_loss"][-1] == nn.MSELoss()(model.eval()(x), y)


def test_a_class_may_be_defined_where_there_is_no_name_of_a_module():
    space = {"nn": nn}
    exec("class Own(nn.Module):\n    def forward(self, x):\n        return 2 * x", space)
    numpy.testing.assert_array_equal(space["Own"]()(numpy.ones((1, 2), numpy.float32)), [[2, 2]])

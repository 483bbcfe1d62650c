"""What the calls mean, beside PyTorch: accumulation, reduction, broadcasting, views, conversion there and back."""

import pickle
import re
from itertools import pairwise

import numpy
import pytest
import torch
from helpers import (
    ACTIVATIONS,
    DTYPES,
    assert_close,
    assert_same_gradients,
    assert_same_parameters,
    assert_unchanged,
    draw,
    leaf,
    mlp,
    owner,
    snapshot,
    tensor,
    torch_dtype,
    twin,
)
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, mutually_broadcastable_shapes
from strategies import examples

import fastbp
from fastbp import nn, optim

DTYPE, REDUCTION, ACTIVATION = map(st.sampled_from, (DTYPES, ("sum", "mean"), ACTIVATIONS))
drawn = examples(max_examples=60)


# Accumulation


def backward_of_a_batch(model, other, reduction, rows, seed):
    """Forward, loss and backward of one batch of small numbers in both libraries."""
    dtype = next(model.parameters()).dtype
    x, target = draw((rows, 5), dtype, seed) / 4, draw((rows, 3), dtype, seed + 100) / 4
    criterion = nn.MSELoss(reduction=reduction)
    criterion(model(x), target)
    model.backward(criterion.backward())
    torch.nn.MSELoss(reduction=reduction)(other(tensor(x)), tensor(target)).backward()


def assert_same_state(model, other):
    """Equal parameters and gradients, None as well."""
    assert_same_parameters(model, other)
    assert_same_gradients(model, other)


OPERATIONS = ("backward", "backward of one row", "step", "model.zero_grad", "opt.zero_grad", "layer.zero_grad")


@drawn
@given(st.lists(st.sampled_from(OPERATIONS), max_size=8), ACTIVATION, REDUCTION, st.booleans(), DTYPE)
@example(["backward", "backward of one row", "step"], "Tanh", "sum", True, numpy.float64)
@example(["backward", "layer.zero_grad", "backward", "step", "opt.zero_grad"], "ReLU", "mean", True, numpy.float32)
def test_backward_step_and_zero_grad_in_any_order_leave_what_torch_leaves(calls, activation, reduction, bias, dtype):
    model = mlp(5, 9, 3, activation=activation, dtype=dtype, bias=bias)
    other = twin(model)
    opt, theirs = optim.SGD(model.parameters(), lr=0.01), torch.optim.SGD(other.parameters(), lr=0.01)
    for seed, call in enumerate(calls):
        if call.startswith("backward"):
            backward_of_a_batch(model, other, reduction, 1 if "one row" in call else 7, seed)
        elif call == "step":
            opt.step()
            theirs.step()
        else:
            for place, its in {"model": (model, other), "opt": (opt, theirs), "layer": (model[2], other[2])}.items():
                if call.startswith(place):
                    its[0].zero_grad()
                    its[1].zero_grad()
        assert_same_state(model, other)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_weight_that_two_layers_share_gathers_the_gradients_of_both(reduction, dtype):
    model = nn.Sequential(mlp(5, 4, 4, 4, activation="Tanh", dtype=dtype), nn.Linear(4, 3, rng=9, dtype=dtype))
    other = twin(model)
    model[0][4].weight, other[0][4].weight = model[0][2].weight, other[0][2].weight
    opt, theirs = optim.SGD(model.parameters(), lr=0.01), torch.optim.SGD(other.parameters(), lr=0.01)
    for seed in range(3):
        backward_of_a_batch(model, other, reduction, 7, seed)
        assert_same_state(model, other)
        opt.step()
        theirs.step()
    assert_same_state(model, other)
    assert list(model.state_dict()) == list(other.state_dict())


def test_backward_is_that_of_the_last_forward(dtype):
    model = mlp(5, 9, 3, activation="Sigmoid", dtype=dtype)
    other = twin(model)
    x, grad_output = draw((4, 5), dtype, seed=1), draw((4, 3), dtype, seed=2)
    model(draw((7, 5), dtype))
    model(x)
    theirs = leaf(x)
    other(theirs).backward(tensor(grad_output))
    assert_close(model.backward(grad_output), theirs.grad)
    assert_same_gradients(model, other)


# Reduction


@drawn
@given(array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6), REDUCTION, DTYPE)
def test_a_reduction_is_over_all_elements_in_forward_evaluate_and_backward(shape, reduction, dtype):
    prediction, target = (numpy.asarray(draw(shape, dtype, seed)) for seed in (0, 1))
    criterion, theirs = nn.MSELoss(reduction=reduction), leaf(prediction)
    expected = torch.nn.MSELoss(reduction=reduction)(theirs, tensor(target))
    expected.backward()
    for loss in (criterion(prediction, target), criterion.evaluate(prediction, target)):
        assert_close(numpy.asarray(loss, dtype), expected)
    assert_close(criterion.backward(), theirs.grad)


# Broadcasting


@drawn
@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=5), REDUCTION, DTYPE)
@example([(7, 1), (7,)], "mean", numpy.float32)
@example([(7,), (7, 1)], "sum", numpy.float32)
@example([(7, 3), (3,)], "mean", numpy.float64)
@example([(7, 3), (1, 3)], "mean", numpy.float64)
def test_a_target_that_torch_broadcasts_is_refused_with_both_shapes(shapes, reduction, dtype):
    shapes = getattr(shapes, "input_shapes", shapes)
    assume(shapes[0] != shapes[1])
    prediction, target = (numpy.ones(shape, dtype) for shape in shapes)
    assume(target.ndim or prediction.size != 1)  # one number is the target of one
    with pytest.warns(UserWarning, match="target size"):
        torch.nn.MSELoss(reduction=reduction)(tensor(prediction), tensor(target))
    rule = re.escape(f"target of the prediction's shape {shapes[0]}, got {shapes[1]}; reshape the target")
    criterion = nn.MSELoss(reduction=reduction)
    for call in (criterion, criterion.evaluate):
        with pytest.raises(ValueError, match=rule):
            call(prediction, target)


@pytest.mark.parametrize(("features", "target"), [(1, (23,)), (3, (23, 1))], ids=str)
@pytest.mark.parametrize("what", ["training", "validation"])
def test_training_refuses_targets_that_torch_broadcasts_and_changes_nothing(features, target, what):
    model, x = mlp(5, 4, features), draw((23, 5), numpy.float32)
    good, bad, before = draw((23, features), numpy.float32), draw(target, numpy.float32), snapshot(model)
    targets = {"training": (bad, good), "validation": (good, bad)}[what]
    with pytest.raises(ValueError, match=r"(train|val)_target of the shape of the model's outputs"):
        fastbp.train_model(
            model, x, targets[0], x, targets[1], nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1), 2, 5
        )
    assert_unchanged(model, before)


@drawn
@given(array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3), st.integers(1, 3), st.booleans(), DTYPE)
@example((0, 3), 3, True, numpy.float32)
@example((2, 0, 3), 3, False, numpy.float32)
@example((7, 1), 4, True, numpy.float32)
@example((1,), 4, True, numpy.float32)
@example((), 1, True, numpy.float32)
def test_linear_takes_the_shapes_that_torch_takes_and_no_others(shape, in_features, bias, dtype):
    layer, x = nn.Linear(in_features, 3, bias, rng=0, dtype=dtype), numpy.asarray(draw(shape, dtype))
    try:
        expected = twin(layer)(tensor(x))
    except RuntimeError:
        for call in (layer, layer.predict):
            with pytest.raises(ValueError, match=rf"\(\.\.\., {in_features}\), got {re.escape(str(shape))}"):
                call(x)
    else:
        assert_close(layer(x), expected)
        assert_close(layer.predict(x), expected)


@drawn
@given(st.data())
def test_values_that_would_have_to_be_broadcast_are_not_loaded_as_in_torch(data):
    layer = nn.Linear(3, 2, rng=0)
    name, shape = data.draw(st.sampled_from([("weight", (2, 3)), ("bias", (2,))]))
    other_shape = data.draw(
        mutually_broadcastable_shapes(num_shapes=1, base_shape=shape, max_dims=len(shape)).map(
            lambda drawn: drawn.input_shapes[0]
        )
    )
    assume(other_shape != shape)
    state, before = {**layer.state_dict(), name: numpy.ones(other_shape, numpy.float32)}, snapshot(layer)
    with pytest.raises(RuntimeError, match="size mismatch"):
        twin(layer).load_state_dict({key: tensor(value) for key, value in state.items()})
    with pytest.raises(ValueError, match=re.escape(f"{name!r} has shape {other_shape} instead of {shape}")):
        layer.load_state_dict(state)
    assert_unchanged(layer, before)


# Views


def train(model, way):
    x, target = draw((23, 5), model[2].weight.dtype), draw((23, 3), model[2].weight.dtype, seed=1)
    criterion = nn.MSELoss() if way == "engine" else type("OwnLoss", (nn.MSELoss,), {})()
    history = fastbp.train_model(model, x, target, x, target, criterion, optim.SGD(model.parameters(), lr=0.1), 3, 5)
    assert history.backend == way


def load(model, convert):
    model.load_state_dict({name: convert(value + 1) for name, value in model.state_dict().items()})


CHANGES = {
    "load_state_dict": lambda model: load(model, numpy.asarray),
    "load_state_dict from torch": lambda model: load(model, torch.from_numpy),
    "train_model in the engine": lambda model: train(model, "engine"),
    "train_model module by module": lambda model: train(model, "modules"),
    "a pickled copy trained": lambda model: train(pickle.loads(pickle.dumps(model)), "engine"),
    "conversion": lambda model: train(fastbp.from_torch(fastbp.to_torch(model)), "engine"),
}


def built(dtype):
    return nn.Sequential(mlp(5, 7, 4, dtype=dtype), nn.Tanh(), nn.Linear(4, 3, rng=9, dtype=dtype))


def from_torch(dtype):
    return fastbp.from_torch(twin(built(dtype)))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("build", [built, from_torch])
def test_views_stay_views_of_one_flat_vector(build, change, dtype):
    model = build(dtype)
    for parameter in model.parameters():
        parameter.note_grad()
    views = [(parameter.data, parameter.grad) for parameter in model.parameters()]
    vectors = [owner(array) for array in views[0]]
    before = snapshot(model)
    CHANGES[change](model)
    for parameter, (data, grad) in zip(model.parameters(), views, strict=True):
        for array, view, vector in ((parameter.data, data, vectors[0]), (parameter.grad, grad, vectors[1])):
            assert numpy.shares_memory(array, vector)
            assert array.ctypes.data == view.ctypes.data
            numpy.testing.assert_array_equal(array, view)
    its_own = change.startswith(("load_state_dict", "train_model"))
    for name, parameter in model.named_parameters():
        assert numpy.array_equal(parameter.data, before[name][0]) != its_own, name


# Conversion there and back


@st.composite
def networks(draw_from):
    """Linear layers with and without bias, any activation or none between them, some of it in a Sequential inside."""
    dtype = draw_from(DTYPE)
    layers = []
    for inputs, outputs in pairwise(draw_from(st.lists(st.integers(1, 18), min_size=2, max_size=5))):
        layers.append(nn.Linear(inputs, outputs, draw_from(st.booleans()), rng=len(layers), dtype=dtype))
        layers += [getattr(nn, name)() for name in draw_from(st.lists(st.sampled_from(ACTIVATIONS), max_size=2))]
    start, stop = sorted(draw_from(st.lists(st.integers(0, len(layers)), min_size=2, max_size=2)))
    if draw_from(st.booleans()):
        layers[start:stop] = [nn.Sequential(*layers[start:stop])]
    return nn.Sequential(*layers)


def bits(state):
    return {name: (value.dtype, value.shape, value.tobytes()) for name, value in state.items()}


def in_features(model):
    return next(model.parameters()).shape[1]


@drawn
@given(networks(), st.integers(0, 9))
def test_a_network_to_torch_and_back_computes_what_it_did(model, rows):
    other = fastbp.to_torch(model)
    again = fastbp.from_torch(other)
    assert bits(again.state_dict()) == bits(model.state_dict())
    assert repr(again) == repr(model)
    x = draw((rows, in_features(model)), next(model.parameters()).dtype)
    theirs, output = leaf(x), model(x)
    expected = other(theirs)
    assert_close(output, expected)
    assert_close(again.predict(x), expected)
    numpy.testing.assert_array_equal(again(x), output)
    grad_output = draw(output.shape, output.dtype, seed=1)
    expected.backward(tensor(grad_output))
    for network in (model, again):
        assert_close(network.backward(grad_output), theirs.grad)
        assert_same_gradients(network, other)


@drawn
@given(networks())
def test_every_bit_of_a_weight_goes_to_torch_and_back(model):
    for parameter in model.parameters():
        info = numpy.finfo(parameter.dtype)
        odd = [numpy.nan, -numpy.nan, numpy.inf, -0.0, info.smallest_subnormal, -info.max, info.eps]
        parameter.data.flat[:] = numpy.resize(odd, parameter.size)
    other = fastbp.to_torch(model)
    assert bits({name: value.numpy() for name, value in other.state_dict().items()}) == bits(model.state_dict())
    assert bits(fastbp.from_torch(other).state_dict()) == bits(model.state_dict())


def test_a_relu_in_place_of_torch_becomes_one_that_leaves_its_input(dtype):
    other = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.ReLU(inplace=True))
    other = other.to(torch_dtype(dtype))
    x = draw((7, 5), dtype)
    assert_close(fastbp.from_torch(other).predict(x), other(tensor(x)))

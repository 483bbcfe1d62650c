"""PReLU: torch's numbers, with slopes that are trained by the engine, kept in checkpoints and converted."""

import copy
import pickle

import numpy
import pytest
import torch
from helpers import draw
from layers import OwnLoss, assert_same_bits, linear, trained

import fastbp
from fastbp import nn, optim


def network(features, dtype=numpy.float64):
    first, last = nn.Linear(5, 7, rng=0, dtype=dtype), nn.Linear(7, 3, rng=1, dtype=dtype)
    return nn.Sequential(first, nn.PReLU(features, init=0.1, dtype=dtype), last)


@pytest.mark.parametrize(
    ("features", "shape"), [(1, (4, 7)), (1, (7,)), (1, (2, 3, 7)), (7, (4, 7)), (7, (4, 7, 2)), (7, (0, 7))]
)
def test_output_and_gradients_are_torchs(features, shape, dtype):
    x, grad = draw(shape, dtype), draw(shape, dtype, seed=1)
    x.ravel()[:1] = 0
    ours = nn.PReLU(features, dtype=dtype)
    theirs = torch.nn.PReLU(features, dtype=torch.tensor(x).dtype)
    inputs = torch.tensor(x, requires_grad=True)
    expected = theirs(inputs)
    expected.backward(torch.tensor(grad))
    numpy.testing.assert_array_equal(ours(x), expected.detach().numpy())
    numpy.testing.assert_array_equal(ours.predict(x), expected.detach().numpy())
    numpy.testing.assert_array_equal(ours.backward(grad), inputs.grad.numpy())
    tolerance = 8 * numpy.finfo(dtype).eps
    numpy.testing.assert_allclose(ours.weight.grad, theirs.weight.grad.numpy(), rtol=tolerance, atol=tolerance)


def test_what_is_not_finite_is_torchs(dtype):
    x = numpy.array([numpy.nan, numpy.inf, -numpy.inf, -0.0], dtype)
    ours, theirs = nn.PReLU(init=0, dtype=dtype), torch.nn.PReLU(init=0, dtype=torch.tensor(x).dtype)
    inputs = torch.tensor(x, requires_grad=True)
    theirs(inputs).sum().backward()
    numpy.testing.assert_array_equal(ours(x), theirs(torch.tensor(x)).detach().numpy())
    numpy.testing.assert_array_equal(ours.backward(numpy.ones_like(x)), inputs.grad.numpy())
    numpy.testing.assert_array_equal(ours.weight.grad, theirs.weight.grad.numpy())


@pytest.mark.parametrize("features", [1, 7])
def test_a_training_in_the_engine_follows_torch(features):
    model = network(features)
    twin = fastbp.to_torch(model)
    x, y = draw((20, 5), numpy.float64), draw((20, 3), numpy.float64, seed=1)
    opt = torch.optim.Adam(twin.parameters(), lr=0.01)
    for _ in range(50):
        opt.zero_grad()
        torch.nn.functional.mse_loss(twin(torch.tensor(x)), torch.tensor(y)).backward()
        opt.step()
    ours = optim.Adam(model.parameters(), lr=0.01)
    history = fastbp.train_model(model, x, y, None, None, nn.MSELoss(), ours, 50, 20)
    assert history.backend == "engine"
    for parameter, expected in zip(model.parameters(), twin.parameters(), strict=True):
        numpy.testing.assert_allclose(parameter.data, expected.detach().numpy(), rtol=0, atol=1e-9)


def test_what_an_infinite_gradient_makes_of_the_slopes_is_torchs(dtype):
    x, grad = numpy.array([[3, -2], [-1, 5]], dtype), numpy.array([[numpy.inf, 1], [2, numpy.inf]], dtype)
    for features in (1, 2):
        ours = nn.PReLU(features, dtype=dtype)
        theirs = torch.nn.PReLU(features, dtype=torch.tensor(x).dtype)
        theirs(torch.tensor(x)).backward(torch.tensor(grad))
        ours(x)
        ours.backward(grad)
        numpy.testing.assert_array_equal(ours.weight.grad, theirs.weight.grad.numpy())


def behind(width, features, dtype):
    """PReLUs from 5 features to 3, behind a layer of ``width`` outputs and another."""
    return nn.Sequential(
        linear(5, width, 0, dtype), nn.PReLU(features, dtype=dtype), linear(width, 64, 1, dtype),
        nn.PReLU(64 if features > 1 else 1, dtype=dtype), linear(64, 3, 2, dtype),
    )  # fmt: skip


# Rows, those of a mini-batch, and the width: mini-batches beside each other, chunks of rows, and rows of large layers.
DIVISIONS = [(63, 20, 33), (1300, 600, 17), (1300, 1300, 40), (600, 300, 1040)]


@pytest.mark.parametrize(("rows", "mini_batch_size", "width"), DIVISIONS)
@pytest.mark.parametrize("each", [False, True])
def test_modules_and_any_number_of_threads_give_the_same_bits(rows, mini_batch_size, width, each, dtype):
    features, before = width if each else 1, fastbp.get_num_threads()
    by_modules = behind(width, features, dtype)
    trained(by_modules, OwnLoss(), rows, mini_batch_size, optim.SGD)
    assert not (by_modules[1].weight.data == by_modules[1].weight.data.dtype.type(0.25)).all()
    try:
        for threads in (1, 2, 3):
            fastbp.set_num_threads(threads)
            model = behind(width, features, dtype)
            assert trained(model, nn.MSELoss(), rows, mini_batch_size, optim.SGD).backend == "engine"
            assert_same_bits(model, by_modules)
    finally:
        fastbp.set_num_threads(before)


@pytest.mark.parametrize("features", [1, 33])
def test_a_frozen_slope_stays_in_the_engine_and_module_by_module(features, dtype):
    models = []
    for criterion in (nn.MSELoss(), OwnLoss()):
        model = behind(33, features, dtype)
        model[1].weight.requires_grad = False
        trained(model, criterion, 600, 300, optim.Adam)
        assert (model[1].weight.data == 0.25).all()
        assert not (model[3].weight.data == 0.25).all()
        models.append(model)
    assert_same_bits(*models)


def test_a_network_predicts_places_of_samples_as_its_forward_does(dtype):
    model = nn.Sequential(linear(5, 7, 0, dtype), nn.PReLU(4, dtype=dtype), linear(7, 3, 1, dtype))
    model[1].weight.data = draw((4,), dtype)
    x = draw((2, 4, 5), dtype)
    assert model.predict(x).tobytes() == model(x).tobytes()
    square = nn.Sequential(linear(5, 4, 0, dtype), nn.PReLU(4, dtype=dtype))
    square[1].weight.data = draw((4,), dtype)
    assert square.predict(x).tobytes() == square(x).tobytes()


def test_a_frozen_slope_gets_no_gradient():
    module = nn.PReLU()
    module.weight.requires_grad = False
    x = draw((4, 7), numpy.float32)
    module(x)
    numpy.testing.assert_array_equal(module.backward(x), numpy.where(x > 0, x, x / 4))
    assert module.weight.grad is None


@pytest.mark.parametrize("features", [1, 7])
def test_files_copies_and_torch_keep_the_slopes(features, tmp_path):
    model, x = network(features), draw((4, 5), numpy.float64)
    model[1].weight.data[...] = draw((features,), numpy.float64, seed=2)
    expected = model(x)
    fastbp.save(tmp_path / "model.safetensors", model)
    others = [fastbp.load(tmp_path / "model.safetensors").model, fastbp.from_torch(fastbp.to_torch(model))]
    others += [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for other in others:
        numpy.testing.assert_array_equal(other(x), expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: nn.PReLU(0), "PReLU takes num_parameters as an int of 1 or more, got 0"),
        (lambda: nn.PReLU(init=numpy.inf), "PReLU takes a finite init, got inf"),
        (lambda: nn.PReLU(device="cuda"), "PReLU computes on the CPU, got device='cuda'; leave it out"),
        (
            lambda: nn.PReLU(7)(draw((4, 5), numpy.float32)),
            r"PReLU\(7\) takes inputs of shape \(n, 7, ...\), got \(4, 5\)",
        ),
    ],
)
def test_what_it_does_not_take_is_said(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()

"""Layers that are no Linear: the same bits in the engine and module by module, and torch's numbers."""

import copy
import pickle

import numpy
import pytest
import torch
from helpers import draw
from layers import DTYPES, ENDS, NETWORKS, OwnLoss, assert_same_bits, linear, network, trained

import fastbp
from fastbp import nn, optim


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_engine_and_modules_give_the_same_bits(dtype, name, end):
    model, other = network(name, dtype, end), network(name, dtype, end)
    history, by_modules = (
        trained(model, nn.MSELoss(), 63, 20, optim.Adam),
        trained(other, OwnLoss(), 63, 20, optim.Adam),
    )
    assert (history.backend, by_modules.backend) == ("engine", "modules")
    assert_same_bits(model, other)
    assert history["train_loss"] == by_modules["train_loss"]
    assert history["val_loss"] == by_modules["val_loss"]
    x = draw((9, 5), dtype, seed=4)
    assert model.predict(x).tobytes() == other.eval()(x).tobytes()


@pytest.mark.parametrize("mini_batch_size", [600, 1100])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_number_of_threads_changes_no_bit(name, mini_batch_size):
    model, other = network(name, numpy.float32), network(name, numpy.float32)
    before = fastbp.get_num_threads()
    try:
        for each, threads in ((model, 1), (other, 3)):
            fastbp.set_num_threads(threads)
            trained(each, nn.MSELoss(), 1300, mini_batch_size, optim.SGD)
    finally:
        fastbp.set_num_threads(before)
    assert_same_bits(model, other)


PAIRS = {
    "LayerNorm": (lambda: nn.LayerNorm(7, dtype=numpy.float64), lambda: torch.nn.LayerNorm(7, dtype=torch.float64)),
    "LayerNorm of two axes": (
        lambda: nn.LayerNorm((4, 7), eps=0.1, bias=False, dtype=numpy.float64),
        lambda: torch.nn.LayerNorm((4, 7), eps=0.1, bias=False, dtype=torch.float64),
    ),
    "LayerNorm without parameters": (
        lambda: nn.LayerNorm(7, elementwise_affine=False),
        lambda: torch.nn.LayerNorm(7, elementwise_affine=False),
    ),
    "Softmax": (lambda: nn.Softmax(-1), lambda: torch.nn.Softmax(-1)),
    "LogSoftmax": (lambda: nn.LogSoftmax(dim=-1), lambda: torch.nn.LogSoftmax(dim=-1)),
    "LogSoftmax of another axis": (lambda: nn.LogSoftmax(dim=1), lambda: torch.nn.LogSoftmax(dim=1)),
    "Softmax over samples": (lambda: nn.Softmax(0), lambda: torch.nn.Softmax(0)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_outputs_and_gradients_are_those_of_torch(name):
    ours, theirs = (make() for make in PAIRS[name])
    for number, (parameter, tensor) in enumerate(zip(ours.parameters(), theirs.parameters(), strict=True)):
        parameter.data = draw(parameter.shape, numpy.float64, seed=number)
        tensor.data = torch.tensor(parameter.data)
    input, grad_output = draw((3, 4, 7), numpy.float64, seed=5) * 30, draw((3, 4, 7), numpy.float64, seed=6)
    tensor = torch.tensor(input, requires_grad=True)
    output = theirs(tensor)
    output.backward(torch.tensor(grad_output))
    numpy.testing.assert_allclose(ours(input), output.detach().numpy(), rtol=1e-12, atol=1e-13)
    numpy.testing.assert_allclose(ours.backward(grad_output), tensor.grad.numpy(), rtol=1e-11, atol=1e-13)
    for parameter, tensor in zip(ours.parameters(), theirs.parameters(), strict=True):
        numpy.testing.assert_allclose(parameter.grad, tensor.grad.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", [nn.Softmax, nn.LogSoftmax])
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_large_logits_do_not_overflow(kind, size):
    logits = numpy.array([[-size, 0.0, size], [size, size, -size]])
    theirs = getattr(torch.nn, kind.__name__)(-1)(torch.tensor(logits)).numpy()
    numpy.testing.assert_allclose(kind(-1)(logits), theirs, rtol=1e-15)


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.Softmax, nn.LogSoftmax])
@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_what_is_not_finite_spoils_its_row_only(kind, value):
    module = kind(4, dtype=numpy.float64) if kind is nn.LayerNorm else kind(-1)
    input = draw((2, 4), numpy.float64, seed=1)
    input[0, 2] = value
    output = module(input)
    assert not numpy.isfinite(output[0]).all()
    assert numpy.isfinite(output[1]).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_networks_are_finite_differences(name):
    model = network(name, numpy.float64).eval()
    input, target = draw((6, 5), numpy.float64, seed=1), draw((6, 3), numpy.float64, seed=2)
    criterion = nn.MSELoss(reduction="sum")
    criterion(model(input), target)
    model.zero_grad()
    grad_input = model.backward(criterion.backward()).copy()
    step, direction = 1e-6, draw((6, 5), numpy.float64, seed=3)
    rise = criterion(model(input + step * direction), target) - criterion(model(input - step * direction), target)
    assert rise / (2 * step) == pytest.approx((grad_input * direction).sum(), rel=1e-6, abs=1e-7)
    for number, parameter in enumerate(model.parameters()):
        direction, before = draw(parameter.shape, numpy.float64, seed=number), parameter.data.copy()
        losses = []
        for sign in (1, -1):
            parameter.data = before + sign * step * direction
            losses.append(criterion(model(input), target))
        parameter.data = before
        expected = (parameter.grad * direction).sum()
        assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(expected, rel=1e-5, abs=1e-6)


ERRORS = {
    "p": (lambda: nn.Dropout(1.5), "Dropout takes p as a probability from 0 to 1, got 1.5"),
    "inplace": (lambda: nn.Dropout(0.1, True), "Dropout leaves its input as it is and does not support inplace=True"),
    "sizes": (lambda: nn.LayerNorm(0), "LayerNorm takes normalized_shape as sizes of 1 or more, got 0"),
    "shape": (
        lambda: nn.LayerNorm(3)(numpy.ones((2, 4), numpy.float32)),
        r"LayerNorm takes inputs of shape \(..., 3\), got \(2, 4\)",
    ),
    "dtype": (lambda: nn.LayerNorm(3)(numpy.ones((2, 3))), "LayerNorm takes float32 arrays, got float64"),
    "dim": (lambda: nn.Softmax("last"), "Softmax takes dim as the number of an axis, got 'last'"),
    "axis": (lambda: nn.Softmax(2)(numpy.ones((2, 3))), r"takes inputs with that axis, got shape \(2, 3\)"),
    "dimensions": (lambda: nn.LogSoftmax()(numpy.ones((2, 3, 4))), r"takes inputs of shape \(n, i\), got \(2, 3, 4\)"),
    "nothing": (lambda: nn.Residual(), "Residual takes one module or more, got none"),
    "outputs": (
        lambda: nn.Residual(nn.Linear(3, 4))(numpy.ones((2, 3), numpy.float32)),
        r"Residual takes modules whose output has the shape of their input, got \(2, 4\) for \(2, 3\)",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_does_not_fit_is_refused(name):
    call, sentence = ERRORS[name]
    with pytest.raises((TypeError, ValueError), match=sentence):
        call()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_saved_networks_go_on_with_the_same_bits(name, dtype, tmp_path):
    model = network(name, dtype)
    trained(model, nn.MSELoss(), 63, 20, optim.SGD)
    fastbp.save(tmp_path / "model", model)
    other = fastbp.load(tmp_path / "model").model
    for each in (model, other):
        trained(each, nn.MSELoss(), 63, 20, optim.SGD)
    assert_same_bits(model, other)


def test_copies_and_pickles_go_on_with_the_same_bits():
    model = network("residual within a residual", numpy.float32)
    trained(model, nn.MSELoss(), 63, 20, optim.SGD)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for each in (model, *copies):
        trained(each, nn.MSELoss(), 63, 20, optim.SGD)
        assert_same_bits(model, each)


@pytest.mark.parametrize("name", [name for name in NETWORKS if "residual" not in name])
def test_networks_come_back_from_torch_as_they_went(name):
    model = network(name, numpy.float64).eval()
    theirs = fastbp.to_torch(model)
    input = draw((6, 5), numpy.float64, seed=1)
    numpy.testing.assert_allclose(model(input), theirs(torch.tensor(input)).detach().numpy(), rtol=1e-11, atol=1e-13)
    again = fastbp.from_torch(theirs)
    assert [type(module) for module in again] == [type(module) for module in model]
    assert again(input).tobytes() == model(input).tobytes()


def flattening(dtype):
    return nn.Sequential(nn.Flatten(), linear(12, 7, 0, dtype), nn.ReLU(), linear(7, 3, 1, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_images_are_flattened_in_the_engine_and_module_by_module(dtype):
    x, y = draw((63, 3, 4), dtype, seed=1), draw((63, 3), dtype, seed=2)
    models = [flattening(dtype), flattening(dtype), flattening(dtype)]
    backends = []
    for model, criterion, input in zip(models, (nn.MSELoss(), OwnLoss(), nn.MSELoss()), (x, x, x.reshape(63, 12))):
        opt = optim.SGD(model.parameters(), lr=0.1)
        history = fastbp.train_model(model, input, y, input[:9], y[:9], criterion, opt, 2, 20, shuffle=True, rng=1)
        backends.append(history.backend)
        assert_same_bits(model, models[0])
    assert backends == ["engine", "modules", "engine"]
    for model in models:
        assert model.predict(x).tobytes() == model(x).tobytes() == model.predict(x.reshape(63, 12)).tobytes()


def test_what_flattens_is_not_predicted_as_rows_of_rows():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, rng=0))
    input = draw((5, 3, 4), numpy.float32)
    for call in (model, model.predict):
        with pytest.raises(ValueError, match=r"Linear\(4, 2\) takes inputs of shape \(..., 4\), got \(5, 12\)"):
            call(input)


def test_flatten_gives_gradients_back_in_the_shape_of_the_input():
    flatten, input = nn.Flatten(), draw((2, 3, 4), numpy.float64)
    output = flatten(input)
    assert output.shape == (2, 12)
    assert flatten.backward(output.copy()).tobytes() == input.tobytes()


@pytest.mark.parametrize("kind", [nn.Softmax, nn.LogSoftmax, nn.GLU])
def test_a_prediction_for_more_axes_takes_the_axis_that_the_layer_names(kind):
    x = draw((2, 6, 5), numpy.float64)
    for dim in (1, -1):
        model = nn.Sequential(linear(5, 4, 0, numpy.float64), kind(dim))
        numpy.testing.assert_array_equal(model.predict(x), model(x))
    model = nn.Sequential(linear(5, 4, 0, numpy.float64), nn.Softmax())
    with pytest.raises(ValueError, match=r"Softmax\(\) takes inputs of shape \(n, i\), got \(2, 6, 4\); pass dim=-1"):
        model.predict(x)

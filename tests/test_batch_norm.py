"""BatchNorm1d beside torch's, and what mini-batches it takes."""

import pickle
import warnings

import numpy
import pytest
import torch
from helpers import draw

import fastbp
from fastbp import nn, optim

BATCH_NORMS = [
    {}, {"momentum": None}, {"affine": False, "eps": 0.1}, {"track_running_stats": False}, {"momentum": 0.7},
    {"bias": False},
]  # fmt: skip


@pytest.mark.parametrize("options", BATCH_NORMS, ids=map(str, BATCH_NORMS))
def test_batch_norm_follows_that_of_torch_in_training_and_after(options):
    ours = nn.BatchNorm1d(4, dtype=numpy.float64, **options)
    theirs = torch.nn.BatchNorm1d(4, dtype=torch.float64, **options)
    for step in range(6):
        if step == 4:
            ours.eval(), theirs.eval()
        input, grad_output = draw((9, 4), numpy.float64, seed=step) * 3 + 1, draw((9, 4), numpy.float64, seed=step + 50)
        tensor = torch.tensor(input, requires_grad=True)
        output = theirs(tensor)
        output.backward(torch.tensor(grad_output))
        numpy.testing.assert_allclose(ours(input), output.detach().numpy(), rtol=1e-12, atol=1e-13)
        numpy.testing.assert_allclose(ours.backward(grad_output), tensor.grad.numpy(), rtol=1e-10, atol=1e-13)
        for parameter, tensor in zip(ours.parameters(), theirs.parameters(), strict=True):
            numpy.testing.assert_allclose(parameter.grad, tensor.grad.numpy(), rtol=1e-11, atol=1e-13)
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        for name, value in theirs.state_dict().items():
            numpy.testing.assert_allclose(ours.state_dict()[name], value.numpy(), rtol=1e-13)
        numpy.testing.assert_allclose(ours.predict(input), theirs.eval()(torch.tensor(input)).detach(), rtol=1e-12)
        theirs.train(step < 3)


def test_batch_norm_takes_the_state_of_torch_and_converts_with_it():
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    theirs(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)))
    ours = nn.Sequential(nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4))
    ours.load_state_dict(theirs.state_dict())
    input = draw((5, 3), numpy.float64)
    expected = theirs.double().eval()(torch.tensor(input)).detach().numpy()
    numpy.testing.assert_allclose(ours.double().predict(input), expected, rtol=1e-12)
    assert ours[1].running_mean.dtype == numpy.float64


def test_a_mini_batch_of_one_row_is_refused_before_anything_changes():
    model = nn.Sequential(nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), nn.Linear(4, 1, rng=1))
    before, x, y = model.state_dict(), draw((21, 3), numpy.float32), draw((21, 1), numpy.float32)
    opt = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="BatchNorm1d takes mini-batches of 2 rows or more in training, got 21"):
        fastbp.train_model(model, x, y, None, None, nn.MSELoss(), opt, 1, 10)
    assert all((value == before[name]).all() for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match="BatchNorm1d takes mini-batches of 2 rows or more in training, got 1"):
        nn.BatchNorm1d(3)(x[:1])


def with_batch_norm():
    return nn.Sequential(nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), nn.Linear(4, 1, rng=1))


def train(model, epochs=1):
    x, y = draw((20, 3), numpy.float32), draw((20, 1), numpy.float32, seed=1)
    opt = optim.SGD(model.parameters(), lr=0.1)
    assert fastbp.train_model(model, x, y, None, None, nn.MSELoss(), opt, epochs, 5).backend == "engine"
    return model


def test_running_statistics_that_are_set_are_copied_into_those_that_the_engine_follows():
    model, other = train(with_batch_norm()), train(with_batch_norm())
    kept = model[1].running_mean
    model[1].running_mean = numpy.full(4, 2.0)
    other[1].running_mean[...] = 2
    assert model[1].running_mean is kept
    for each in (model, other):
        train(each)
    assert (kept == other[1].running_mean).all()
    assert not (kept == 2).any()


@pytest.mark.parametrize("value", [numpy.zeros(3), "zeros", None])
def test_running_statistics_of_another_shape_are_refused(value):
    norm = nn.BatchNorm1d(4)
    with pytest.raises(ValueError, match=r"BatchNorm1d.running_var takes an array of shape \(4,\), got"):
        norm.running_var = value
    assert (norm.running_var == 1).all()


def test_a_model_from_read_only_buffers_owns_its_running_statistics():
    buffers = []
    data = pickle.dumps(with_batch_norm(), protocol=5, buffer_callback=buffers.append)
    models = [pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers]) for _ in range(2)]
    train(models[0])
    assert models[0][1].running_mean.flags.writeable
    assert (models[1][1].running_mean == 0).all()


def test_a_network_predicts_places_of_samples_as_its_forward_does():
    model = nn.Sequential(nn.Linear(5, 4, rng=0), nn.BatchNorm1d(4)).eval()
    model[1].running_mean = draw((4,), numpy.float32)
    x = draw((2, 4, 5), numpy.float32)
    assert model.predict(x).tobytes() == model(x).tobytes()


def test_running_statistics_beyond_float32_become_infinite_as_in_torch():
    norm = nn.BatchNorm1d(2).double()
    norm.running_mean[...], norm.running_var[...] = [1e300, -1e300], 1e301
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        norm.float()
    assert norm.running_mean.tolist() == [numpy.inf, -numpy.inf]
    assert norm.running_var.tolist() == [numpy.inf, numpy.inf]
    assert norm(draw((4, 2), numpy.float32)).dtype == numpy.float32

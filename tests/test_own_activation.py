"""An activation by two compiled functions of the user's, in the engine and module by module."""

import copy
import gc
import math
import pickle
from functools import partial

import numpy
import pytest
import torch
from helpers import draw, tensor
from numba import njit, vectorize
from same_bits import assert_same_bits, outcome

import fastbp
from fastbp import nn, optim


@njit
def softplus(x):
    return x if x > 20 else math.log1p(math.exp(x))


@njit
def logistic(x):
    return 1 / (1 + math.exp(-x))


@njit(fastmath=True)
def polynomial(x):
    return x * x * 0.3 + x * 0.7 + 0.1


@njit(fastmath=True)
def polynomial_derivative(x):
    return 0.6 * x + 0.7


@njit
def reciprocal(x):
    return 1 / x


@njit
def reciprocal_derivative(x):
    return -1 / (x * x)


def network(build, dtype, last=True):
    modules = [nn.Linear(5, 33, rng=0, dtype=dtype), build(), nn.LayerNorm(33, dtype=dtype), build()]
    modules += [nn.Linear(33, 3, rng=1, dtype=dtype), *([build()] if last else [])]
    return nn.Sequential(*modules)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("functions", [(softplus, logistic), (polynomial, polynomial_derivative)])
def test_it_trains_in_the_engine_with_the_bits_of_the_modules(functions, last, dtype):
    x, y = draw((60, 5), dtype), draw((60, 3), dtype, seed=1)
    ends = []
    for kind in (nn.MSELoss, type("Own", (nn.MSELoss,), {})):
        for threads in (1, 2):
            fastbp.set_num_threads(threads)
            model = network(partial(nn.Elementwise, *functions), dtype, last)
            opt = optim.Adam(model.parameters(), lr=0.003)
            history = fastbp.train_model(model, x, y, x, y, kind(), opt, 5, 10, shuffle=True, rng=1)
            ends.append(outcome(model, history))
            assert history.backend == ("engine" if kind is nn.MSELoss else "modules")
    for end in ends[1:]:
        assert_same_bits(ends[0], end)


def test_softplus_of_ones_own_trains_as_torchs():
    x, y = draw((40, 5), numpy.float64), draw((40, 3), numpy.float64, seed=1)
    model = nn.Sequential(nn.Linear(5, 9, rng=0, dtype="float64"), nn.Elementwise(softplus, logistic))
    model.append(nn.Linear(9, 3, rng=1, dtype="float64"))
    theirs = torch.nn.Sequential(
        fastbp.to_torch(nn.Sequential(model[0]))[0], torch.nn.Softplus(), fastbp.to_torch(nn.Sequential(model[2]))[0]
    )
    opt, losses = torch.optim.Adam(theirs.parameters(), lr=0.003), []
    for step in range(400):
        rows = slice(step % 4 * 10, step % 4 * 10 + 10)
        opt.zero_grad()
        loss = torch.nn.functional.mse_loss(theirs(tensor(x)[rows]), tensor(y)[rows])
        loss.backward()
        opt.step()
        losses.append(loss.item())
    ours = optim.Adam(model.parameters(), lr=0.003)
    history = fastbp.train_model(model, x, y, None, None, nn.MSELoss(), ours, 100, 10)
    assert history.backend == "engine"
    numpy.testing.assert_allclose(history["train_loss"], numpy.reshape(losses, (100, 4)).sum(axis=1), rtol=0, atol=1e-9)
    for parameter, expected in zip(model.parameters(), theirs.parameters(), strict=True):
        numpy.testing.assert_allclose(parameter.data, expected.detach().numpy(), rtol=0, atol=1e-9)


def test_a_network_called_as_one_gives_the_bits_of_its_modules(dtype):
    parts = [nn.Linear(5, 19, rng=0, dtype=dtype), nn.Elementwise(softplus, logistic), nn.Linear(19, 3, dtype=dtype)]
    parts.append(nn.Elementwise(polynomial, polynomial_derivative))
    model, x, grad = nn.Sequential(*parts), draw((11, 5), dtype), draw((11, 3), dtype, seed=2)
    output, grad_input, predicted = model(x).copy(), model.backward(grad).copy(), model.predict(x)
    expected = x
    for part in parts:
        expected = part(expected)
    for part in reversed(parts):
        grad = part.backward(grad)
    numpy.testing.assert_array_equal(output, expected)
    numpy.testing.assert_array_equal(predicted, expected)
    numpy.testing.assert_array_equal(grad_input, grad)


@pytest.mark.parametrize("functions", [(softplus, logistic), (polynomial, polynomial_derivative)])
def test_the_place_of_a_number_does_not_change_what_comes_out(functions, dtype):
    module, x, grad = nn.Elementwise(*functions), draw((37,), dtype) * 3, draw((37,), dtype, seed=1)
    output, grad_input = module(x).copy(), module.backward(grad).copy()
    for start in range(20):
        part = slice(start, start + 17)
        numpy.testing.assert_array_equal(module(x[part].copy()), output[part])
        numpy.testing.assert_array_equal(module.backward(grad[part].copy()), grad_input[part])


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4), (2, 0)])
def test_it_takes_arrays_of_any_shape(shape, dtype):
    module, x = nn.Elementwise(softplus, logistic), draw(shape, dtype)
    output = module(x)
    assert output.shape == shape
    assert output.dtype == dtype
    numpy.testing.assert_allclose(output, numpy.log1p(numpy.exp(x)), rtol=1e-6)
    numpy.testing.assert_allclose(module.backward(numpy.ones_like(x)), 1 / (1 + numpy.exp(-x)), rtol=1e-6)


def test_a_division_by_zero_is_infinite_as_in_numpy(dtype):
    module = nn.Elementwise(reciprocal, reciprocal_derivative)
    assert module(numpy.zeros(1, dtype)) == math.inf
    assert module.backward(numpy.ones(1, dtype)) == -math.inf


def test_its_code_lives_as_long_as_the_model():
    x = draw((7, 5), numpy.float32)
    model = network(lambda: nn.Elementwise(njit(lambda x: x * x), njit(lambda x: 2 * x)), numpy.float32)
    expected = model.predict(x)
    nn.Elementwise(njit(lambda x: -x), njit(lambda x: -1.0))(x)
    gc.collect()
    numpy.testing.assert_array_equal(model.predict(x), expected)


def test_copies_and_pickles_compute_the_same():
    model, x = network(partial(nn.Elementwise, softplus, logistic), numpy.float32), draw((7, 5), numpy.float32)
    expected = model.predict(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        numpy.testing.assert_array_equal(other.predict(x), expected)
        assert repr(other) == repr(model)
    assert "Elementwise(softplus, logistic)" in repr(model)


@vectorize
def universal(x):
    return x


REFUSED = {
    "a Python function": (lambda x: x, r"takes value as a function that numba\.njit made, got <function"),
    "a universal function": (universal, r"takes value as a function that numba\.njit made, got <numba"),
    "no argument": (njit(lambda: 1.0), r"takes value as a function of one number, got value <lambda>\(\)"),
    "two arguments": (njit(lambda x, y: x), r"takes value as a function of one number, got value <lambda>\(x, y\)"),
    "any number": (njit(lambda *x: x[0]), r"takes value as a function of one number, got value <lambda>\(\*x\)"),
    "an integer": (njit(lambda x: 1), r"takes value as a function that returns a float, got .* with .*int"),
    "an array": (njit(lambda x: x[0]), r"takes value as a function of a float, which value <lambda>\(x\) is not"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_function_of_a_number_is_refused(case):
    function, message = REFUSED[case]
    with pytest.raises(TypeError, match=f"^Elementwise {message}"):
        nn.Elementwise(function, logistic)
    with pytest.raises(TypeError, match=f"^Elementwise {message.replace('value', 'derivative')}"):
        nn.Elementwise(softplus, function)


def test_checkpoints_and_torch_do_without_its_functions(tmp_path):
    model, other = (network(partial(nn.Elementwise, softplus, logistic), numpy.float32) for _ in range(2))
    with pytest.raises(TypeError, match=r"^to_torch converts .*, got Elementwise at '1'$"):
        fastbp.to_torch(model)
    model[0].weight.data[...] = 0.5
    fastbp.save(tmp_path / "c", model)
    with pytest.raises(fastbp.CheckpointError, match="modules or methods of its author's own and no network: build"):
        fastbp.load(tmp_path / "c")
    assert (fastbp.load(tmp_path / "c", other).model[0].weight.data == 0.5).all()

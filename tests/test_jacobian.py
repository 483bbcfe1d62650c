"""Jacobians of networks: those of torch.func, for all inputs at once, with nothing else changed."""

import re

import numpy
import pytest
import torch
from helpers import LAYOUTS, assert_close, assert_unchanged, draw, mlp, snapshot, tensor, twin

import fastbp
from fastbp import nn
from fastbp.runtime import threads
from fastbp_kernels.functions.activations import ACTIVATIONS

# torch's derivative of Hardsigmoid in float64 is the float32 next to 1/6; it is tested by itself.
NAMES = [row.name for row in ACTIVATIONS[1:] if row.name not in ("Identity", "Hardsigmoid") and hasattr(nn, row.name)]


class Same(nn.Module):
    """A user's module that lets everything through."""

    def forward(self, input):
        return input.copy()

    def backward(self, grad_output):
        return grad_output


def of_torch(model, x):
    """``torch.func``'s; the library's model and its twin have the same layers."""
    return torch.func.vmap(torch.func.jacrev(twin(model)))(tensor(x))


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("widths", [(4, 3), (1, 9, 1), (5, 17, 8, 3)])
@pytest.mark.parametrize("n", [0, 1, 23])
def test_the_jacobian_is_that_of_torch(n, widths, activation, dtype):
    model, x = mlp(*widths, activation=activation, dtype=dtype), draw((n, widths[0]), dtype, 3)
    found = fastbp.jacobian(model, x)
    assert (found.shape, found.dtype) == ((n, widths[-1], widths[0]), dtype)
    if n:
        assert_close(found, of_torch(model, x))


def test_the_slope_of_hardsigmoid_is_a_sixth(dtype):
    model = nn.Sequential(nn.Linear(4, 3, rng=0, dtype=dtype), nn.Hardsigmoid())
    found = fastbp.jacobian(model, 0.1 * draw((6, 4), dtype))
    expected = numpy.broadcast_to(model[0].weight.data / 6, (6, 3, 4))
    numpy.testing.assert_allclose(found, expected, rtol=4 * numpy.finfo(dtype).eps)


def test_an_activation_may_end_the_network(dtype):
    model, x = nn.Sequential(nn.Linear(4, 3, rng=0, dtype=dtype), nn.Tanh()), draw((6, 4), dtype)
    assert_close(fastbp.jacobian(model, x), of_torch(model, x))
    assert_close(fastbp.jacobian(model[0], x), of_torch(model[0], x))


@pytest.mark.parametrize("count", [1, 3])
def test_blocks_of_rows_and_threads_make_no_difference(count, monkeypatch):
    model, x = mlp(64, 128, 64, 5, activation="Tanh"), draw((1300, 64), numpy.float32)
    expected = numpy.concatenate([fastbp.jacobian(model, x[start : start + 1]) for start in range(0, 1300, 100)])
    monkeypatch.setattr(threads, "_limit", count)
    numpy.testing.assert_allclose(fastbp.jacobian(model, x)[::100], expected, rtol=1e-4, atol=1e-6)
    monkeypatch.setattr(threads, "_limit", 1)
    alone = fastbp.jacobian(model, x)
    monkeypatch.setattr(threads, "_limit", count)
    numpy.testing.assert_array_equal(fastbp.jacobian(model, x), alone)


def test_module_by_module_has_the_same_bits(dtype):
    first, activation, last = mlp(4, 9, 3, activation="Tanh", dtype=dtype)
    x = draw((23, 4), dtype)
    expected = fastbp.jacobian(nn.Sequential(first, activation, last), x)
    numpy.testing.assert_array_equal(fastbp.jacobian(nn.Sequential(first, Same(), activation, last), x), expected)


def test_layers_that_are_no_linear_go_module_by_module_as_in_eval(dtype):
    model = nn.Sequential(nn.Linear(4, 6, rng=0, dtype=dtype), nn.LayerNorm(6, dtype=dtype), nn.Dropout(0.5, rng=0),
                          nn.Linear(6, 3, rng=1, dtype=dtype))  # fmt: skip
    other = torch.nn.Sequential(twin(model[0]), torch.nn.LayerNorm(6, dtype=tensor(model[0].weight.data).dtype),
                                twin(model[3]))  # fmt: skip
    x = draw((7, 4), dtype)
    assert_close(fastbp.jacobian(model, x), torch.func.vmap(torch.func.jacrev(other))(tensor(x)))
    assert all(module.training for module in model.modules())
    assert model[2].forwards == 0


@pytest.mark.parametrize("own", [False, True], ids=["engine", "module by module"])
def test_nothing_else_changes(own):
    model = nn.Sequential(*mlp(4, 9, 3), *[Same()] * own)
    x = draw((6, 4), numpy.float32)
    model(x)
    model.backward(draw((6, 3), numpy.float32))
    before, given = snapshot(model), x.copy()
    output = model(x)
    expected = output.copy()
    fastbp.jacobian(model, x)
    assert_unchanged(model, before)
    numpy.testing.assert_array_equal(output, expected)
    numpy.testing.assert_array_equal(x, given)
    if own:
        with pytest.raises(RuntimeError, match=r"backward was called|another output|earlier"):
            model.backward(draw((6, 3), numpy.float32))
    else:
        model.backward(draw((6, 3), numpy.float32))


@pytest.mark.parametrize("name", LAYOUTS)
def test_inputs_come_in_any_layout(name):
    model, x = mlp(4, 9, 3), draw((23, 4), numpy.float32)
    given = LAYOUTS[name](x)
    numpy.testing.assert_array_equal(fastbp.jacobian(model, given), fastbp.jacobian(model, numpy.array(given)))


def test_nan_stays_in_its_row():
    model, x = mlp(4, 9, 3, activation="Tanh"), draw((23, 4), numpy.float32)
    x[5, 1] = numpy.nan
    found = fastbp.jacobian(model, x)
    assert numpy.isnan(found[5]).any()
    assert numpy.isfinite(numpy.delete(found, 5, axis=0)).all()


X = draw((6, 4), numpy.float32)
WRONG = {
    "no module": (None, X, TypeError, r"jacobian takes a fastbp\.nn\.Module, got NoneType"),
    "a list": (mlp(4, 3), X.tolist(), TypeError, "jacobian takes a NumPy array, got list"),
    "one row": (mlp(4, 3), X[0], ValueError, r"\(n, in_features\), got \(4,\); pass inputs\[None\] for one row"),
    "features": (mlp(4, 3), X[:, :3], ValueError, r"Linear\(4, 3\) takes inputs of shape \(\.\.\., 4\), got \(6, 3\)"),
    "dtype": (mlp(4, 3), X.astype("f8"), TypeError, r"float32"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_jacobian_says_what_it_takes(case):
    model, inputs, error, match = WRONG[case]
    with pytest.raises(error, match=match):
        fastbp.jacobian(model, inputs)


def test_a_model_with_other_outputs_than_rows_is_refused():
    class Sums(Same):
        def forward(self, input):
            return input.sum(axis=1)

    with pytest.raises(ValueError, match=re.escape("outputs of shape (n, out_features), got (6,)")):
        fastbp.jacobian(nn.Sequential(nn.Linear(4, 3), Sums()), X)

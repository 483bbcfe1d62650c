"""Classes with a ``forward`` alone as networks of the engine."""

import numpy
import pytest
from helpers import draw

import fastbp
from fastbp import nn, optim


class Skips(nn.Module):
    def __init__(self, dtype=numpy.float64):
        super().__init__()
        self.first, self.inner = nn.Linear(5, 8, rng=1, dtype=dtype), nn.Linear(8, 8, rng=2, dtype=dtype)
        self.body = nn.Sequential(nn.Linear(8, 8, rng=3, dtype=dtype), nn.GELU(), nn.Linear(8, 8, rng=4, dtype=dtype))
        self.norm, self.drop = nn.LayerNorm(8, dtype=dtype), nn.Dropout(0.1, rng=5)
        self.last = nn.Linear(8, 3, rng=6, dtype=dtype)

    def forward(self, x):
        h = numpy.tanh(self.first(x))
        h = h + numpy.tanh(self.inner(h))
        h = self.drop(self.norm(self.body(h) + h))
        return self.last(h)


def rows(dtype=numpy.float64):
    return draw((60, 5), dtype, seed=1), draw((60, 3), dtype, seed=2)


def trained(model, x, y, epochs=3):
    opt = optim.Adam(model.parameters(), lr=0.01)
    return fastbp.train_model(model, x, y, None, None, nn.MSELoss(), opt, epochs, 20, progress=False)


@pytest.mark.parametrize("dtype", [numpy.float32, numpy.float64])
def test_a_class_trains_in_the_engine_to_what_it_trains_to_by_itself(dtype):
    one, other = Skips(dtype), Skips(dtype)
    x, y = rows(dtype)
    compiled = fastbp.compile(other, x[:4])
    histories = trained(one, x, y), trained(compiled, x, y)
    assert [history.backend for history in histories] == ["modules", "engine"]
    tolerance = 2e-5 if dtype is numpy.float32 else 1e-12
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        numpy.testing.assert_allclose(mine.data, theirs.data, rtol=tolerance, atol=tolerance)
    numpy.testing.assert_allclose(other.predict(x), compiled.predict(x), rtol=tolerance, atol=tolerance)


def test_recording_leaves_modes_and_counts_as_they_were():
    model = Skips()
    model.norm.eval()
    before = {name: value.copy() for name, value in model.state_dict().items()}
    fastbp.compile(model, rows()[0])
    assert model.training
    assert model.drop.training
    assert not model.norm.training
    assert model.drop.forwards == 0
    for name, value in model.state_dict().items():
        numpy.testing.assert_array_equal(value, before[name])


class Own(nn.Module):
    def __init__(self, compute):
        super().__init__()
        self.a, self.b = (nn.Linear(5, 5, rng=seed, dtype=numpy.float64) for seed in (1, 2))
        self.scale = nn.Parameter(numpy.ones(5))
        self.compute = compute

    def forward(self, x):
        return self.compute(self, x)


IN_THE_WAY = {
    "a function": (lambda m, x: m.b(numpy.sin(m.a(x))), r"a call of numpy\.sin"),
    "a parameter": (lambda m, x: m.a(x) + m.scale, "addition of two branches, of which neither"),
    "two branches": (lambda m, x: m.a(x) + m.b(x), "addition of two branches, of which neither"),
    "numbers": (lambda m, x: m.a(x) + 1.0, r"a call of numpy\.add"),
    "a layer again": (lambda m, x: m.a(m.a(x)), r"uses each module once, and Own uses Linear.* again"),
    "nothing": (lambda m, x: x, "returns its input"),
    "several outputs": (lambda m, x: (m.a(x), m.b(x)), "returns one array computed from its input, got tuple"),
    "no layer": (lambda m, x: numpy.tanh(x), "what the engine trains, and Own is not"),
    "an array": (lambda m, x: numpy.asarray(m.a(x)), "returns one array computed from its input, got ndarray"),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_what_stands_in_the_way_is_named(case):
    compute, match = IN_THE_WAY[case]
    with pytest.raises(ValueError, match=match):
        fastbp.compile(Own(compute), rows()[0])


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match=r"compile takes a fastbp\.nn\.Module, got function"):
        fastbp.compile(lambda x: x, rows()[0])
    with pytest.raises(TypeError, match="compile takes float32 or float64 arrays, got int64"):
        fastbp.compile(Skips(), numpy.ones((2, 5), int))

"""Networks as files of C: each is compiled with all warnings as errors, and returns what ``predict`` returns."""

import ctypes
import os
import shlex
import subprocess

import numpy
import pytest
from helpers import draw
from leaving_cases import CASES, DTYPES, samples

import fastbp
from fastbp import nn

CC = shlex.split(os.environ.get("CC", "cc"))
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-shared", "-fPIC")
TOLERANCE = {numpy.float32: 1e-6, numpy.float64: 1e-13}


def compiled(path):
    """Return the function ``predict`` of a file of C."""
    library = path.with_suffix(".so")
    subprocess.run([*CC, *FLAGS, str(path), "-o", str(library), "-lm"], check=True)
    function = ctypes.CDLL(str(library)).predict
    function.restype = None
    return function


def predicted_by(function, rows, like):
    """Return what the function makes of each row, in an array of the shape of ``like``."""
    output = numpy.full_like(like, 7)
    rows = numpy.ascontiguousarray(rows)
    for row, result in zip(rows[:, None], output):
        function(row.ctypes.data_as(ctypes.c_void_p), result.ctypes.data_as(ctypes.c_void_p))
    return output


def assert_near(actual, expected, dtype):
    scale = max(1.0, numpy.abs(expected[numpy.isfinite(expected)], dtype=float).max(initial=0))
    numpy.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_compiled_c_predicts_as_the_model_does(name, dtype, tmp_path):
    build, shape = CASES[name]
    model = build(dtype)
    rows = samples(model, shape, dtype)
    path = tmp_path / "model.c"
    fastbp.to_c(model, path, sample_shape=shape)
    expected = model.predict(rows)
    assert_near(predicted_by(compiled(path), rows, expected), expected, dtype)


def test_nan_and_infinity_stay_what_they_are_in_predict(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3, rng=0), nn.ReLU(), nn.Linear(3, 2, rng=1), nn.LogSoftmax())
    model[2].bias.data[...] = numpy.nan, -numpy.inf
    rows = numpy.array([[1, 2, 3], [numpy.nan, 0, 0], [numpy.inf, 0, 0]], numpy.float32)
    fastbp.to_c(model, tmp_path / "model.c")
    expected = model.predict(rows)
    numpy.testing.assert_array_equal(numpy.isnan(predicted_by(compiled(tmp_path / "model.c"), rows, expected)), True)
    numpy.testing.assert_array_equal(numpy.isnan(expected), True)


def test_input_and_output_may_be_one_array_and_the_function_may_have_another_name(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4, rng=0), nn.Tanh())
    fastbp.to_c(model, tmp_path / "model.c")
    library = tmp_path / "model.so"
    subprocess.run([*CC, *FLAGS, "-Dpredict=own", str(tmp_path / "model.c"), "-o", str(library), "-lm"], check=True)
    rows = draw((1, 4), numpy.float32)
    expected = model.predict(rows)
    pointer = rows.ctypes.data_as(ctypes.c_void_p)
    ctypes.CDLL(str(library)).own(pointer, pointer)
    assert_near(rows, expected, numpy.float32)


def test_an_index_that_an_embedding_does_not_have_is_nan(tmp_path):
    model, path = nn.Sequential(nn.Embedding(3, 2, rng=0)), tmp_path / "model.c"
    fastbp.to_c(model, path, sample_shape=())
    output = predicted_by(compiled(path), numpy.array([-1, 2, 3, 2**62]), numpy.empty((4, 2), numpy.float32))
    numpy.testing.assert_array_equal(output[1], model[0].weight.data[2])
    assert numpy.isnan(output[[0, 2, 3]]).all()


def test_a_wide_network_is_near_too(tmp_path):
    model = nn.Sequential(nn.Linear(200, 300, rng=0), nn.ReLU(), nn.Linear(300, 10, rng=1), nn.Softmax())
    rows = draw((10, 200), numpy.float32)
    fastbp.to_c(model, tmp_path / "model.c")
    expected = model.predict(rows)
    assert_near(predicted_by(compiled(tmp_path / "model.c"), rows, expected), expected, numpy.float32)

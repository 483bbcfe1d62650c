"""Functions of a network's outputs: those of scikit-learn, for outputs of any size."""

import numpy
import pytest
from sklearn.neural_network._base import ACTIVATIONS as THEIRS

from fastbp.sklearn.outputs import apply_output

NAMES = ["identity", "softmax", "logistic", "exp"]


def theirs(name, values):
    """scikit-learn's function of a copy of ``values``."""
    values = values.copy()
    with numpy.errstate(all="ignore"):
        (THEIRS[name] if name in THEIRS else lambda x: numpy.exp(x, out=x))(values)
    return values


@pytest.mark.parametrize("columns", [1, 3, 37])
@pytest.mark.parametrize("name", NAMES)
def test_outputs_become_what_they_become_in_scikit_learn(name, columns, dtype):
    outputs = (5 * numpy.random.default_rng(0).standard_normal((23, columns))).astype(dtype)
    expected = theirs(name, outputs)
    result = apply_output(name, outputs)
    assert result is outputs
    numpy.testing.assert_allclose(result, expected, rtol=8 * numpy.finfo(dtype).eps)


@pytest.mark.parametrize("name", ["softmax", "logistic"])
def test_large_outputs_neither_overflow_nor_become_nan(name, dtype):
    outputs = numpy.array([[1e4, -1e4, 0.0], [-1e30, 1e30, -1e30], [7.0, 7.0, 7.0]], dtype)
    expected = theirs(name, outputs)
    numpy.testing.assert_allclose(apply_output(name, outputs), expected, rtol=8 * numpy.finfo(dtype).eps, atol=1e-37)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_with_nan_is_not_hidden(name, dtype):
    outputs = numpy.array([[1.0, numpy.nan, 2.0], [1.0, 2.0, 3.0]], dtype)
    result = apply_output(name, outputs)
    assert numpy.isnan(result[0, 1])
    assert numpy.isfinite(result[1]).all()


def test_no_rows_are_no_probabilities(dtype):
    for name in NAMES:
        assert apply_output(name, numpy.empty((0, 3), dtype)).shape == (0, 3)

"""Networks as files of ONNX: onnx finds them whole, onnxruntime predicts as the model does, and they come back."""

import numpy
import onnx
import onnxruntime
import pytest
from leaving_cases import CASES, DTYPES, samples

import fastbp
from fastbp import nn

TOLERANCE = {numpy.float32: 1e-6, numpy.float64: 1e-12}


def predicted_by_runtime(path, rows):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(["output"], {"input": rows})
    return output


def assert_near(actual, expected, dtype):
    assert actual.dtype == dtype
    assert actual.shape == expected.shape
    scale = max(1.0, numpy.abs(expected).max())
    numpy.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_onnxruntime_predicts_as_the_model_does_and_the_model_comes_back(name, dtype, tmp_path):
    build, shape = CASES[name]
    model = build(dtype)
    rows, path = samples(model, shape, dtype), tmp_path / "model.onnx"
    fastbp.to_onnx(model, path, sample_shape=shape)
    onnx.checker.check_model(str(path), full_check=True)
    expected = model.predict(rows)
    assert_near(predicted_by_runtime(path, rows), expected, dtype)
    back = fastbp.from_onnx(path)
    numpy.testing.assert_array_equal(back.predict(rows), expected)
    fastbp.to_onnx(back, tmp_path / "again.onnx", sample_shape=shape)
    assert_near(predicted_by_runtime(tmp_path / "again.onnx", rows), expected, dtype)


def test_settings_parameters_and_ties_are_the_same_when_a_model_comes_back(tmp_path):
    one, other = nn.Linear(4, 4, rng=0), nn.Linear(4, 4, rng=1)
    other.weight = one.weight
    parts = [one, nn.LeakyReLU(0.3), other, nn.Residual(nn.Softplus(2.0, 10.0)), nn.LayerNorm(4, eps=1e-4), nn.ReLU6()]
    model = nn.Sequential(*parts)
    fastbp.to_onnx(model, tmp_path / "model.onnx")
    back = fastbp.from_onnx(tmp_path / "model.onnx")
    assert repr(back) == repr(model)
    assert back[0].weight is back[2].weight
    for name, array in model.state_dict().items():
        numpy.testing.assert_array_equal(back.state_dict()[name], array)
    assert {each.name for each in onnx.load(tmp_path / "model.onnx").graph.initializer} >= {"0.weight", "2.bias"}

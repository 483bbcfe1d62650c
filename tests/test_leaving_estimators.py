"""Fitted estimators leave with what follows the network, and their classes beside it."""

import json

import numpy
import onnx
import pandas
import pytest
import safetensors
from helpers import draw
from sklearn.exceptions import NotFittedError
from test_onnx import predicted_by_runtime
from test_to_c import compiled, predicted_by

import fastbp
from fastbp.sklearn import BaggingClassifier, MLPClassifier, MLPRegressor

X = draw((60, 4), numpy.float32)
SIZES = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0, "dtype": "float32"}


def classifier(labels, **options):
    model = MLPClassifier(**SIZES, **options)
    model.set_params(max_iter=3)
    return model.fit(X, labels)


def three():
    return classifier(numpy.array(["a */", "b /*", "ç"])[numpy.argsort(X[:, :3], axis=1)[:, 0]], layer_norm=True)


def two():
    return classifier(X[:, 0] > 0, dropout=0.2)


def labels():
    return classifier((X[:, :3] > 0).astype(int), activation="silu")


def numbers():
    return MLPRegressor(**SIZES).fit(X, X[:, :2])


def counts():
    return MLPRegressor("poisson", **SIZES).fit(X, numpy.abs(X[:, 0]))


PROBABILITIES = {
    three: lambda model: model.predict_proba(X), two: lambda model: model.predict_proba(X)[:, 1:],
    labels: lambda model: model.predict_proba(X), numbers: lambda model: model.predict(X),
    counts: lambda model: model.predict(X)[:, None],
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer. Maximum iterations")


@pytest.mark.parametrize("build", PROBABILITIES, ids=lambda build: build.__name__)
def test_files_of_an_estimator_predict_what_it_predicts(build, tmp_path):
    model = build()
    expected = PROBABILITIES[build](model)
    fastbp.to_onnx(model, tmp_path / "model.onnx")
    fastbp.to_c(model, tmp_path / "model.c")
    numpy.testing.assert_allclose(predicted_by_runtime(tmp_path / "model.onnx", X), expected, rtol=0, atol=1e-6)
    in_c = predicted_by(compiled(tmp_path / "model.c"), X, expected)
    numpy.testing.assert_allclose(in_c, expected, rtol=0, atol=1e-6)
    numpy.testing.assert_allclose(fastbp.from_onnx(tmp_path / "model.onnx").predict(X), expected, rtol=0, atol=1e-6)


def test_the_classes_stand_in_the_files(tmp_path):
    model = three()
    fastbp.to_onnx(model, tmp_path / "model.onnx")
    fastbp.to_c(model, tmp_path / "model.c")
    fastbp.to_safetensors(model, tmp_path / "model.safetensors")
    expected = {
        "estimator": "MLPClassifier", "output": "the probability of each class", "features": 4,
        "classes": ["a */", "b /*", "ç"],
    }  # fmt: skip
    (entry,) = onnx.load(tmp_path / "model.onnx").metadata_props
    assert (entry.key, json.loads(entry.value)) == ("fastbp", expected)
    with safetensors.safe_open(tmp_path / "model.safetensors", "numpy") as file:
        assert json.loads(file.metadata()["fastbp"]) == expected
    (line,) = (line for line in (tmp_path / "model.c").read_text().splitlines() if "MLPClassifier" in line)
    assert json.loads(line) == expected


def test_two_classes_have_the_probability_of_the_second(tmp_path):
    fastbp.to_onnx(two(), tmp_path / "model.onnx")
    facts = json.loads(onnx.load(tmp_path / "model.onnx").metadata_props[0].value)
    assert facts["classes"] == [False, True]
    assert facts["output"] == "the probability of the second class"


def test_the_names_of_features_stand_in_the_files(tmp_path):
    frame = pandas.DataFrame(X, columns=["w", "x", "y", "z"])
    fastbp.to_onnx(MLPRegressor(**SIZES).fit(frame, X[:, 0]), tmp_path / "model.onnx")
    facts = json.loads(onnx.load(tmp_path / "model.onnx").metadata_props[0].value)
    assert facts["feature_names"] == ["w", "x", "y", "z"]


def test_an_estimator_that_left_is_as_it_was(tmp_path):
    model = three()
    coefs, expected = model.coefs_[0], model.predict_proba(X)
    fastbp.to_onnx(model, tmp_path / "model.onnx")
    assert model.coefs_[0] is coefs
    numpy.testing.assert_array_equal(model.predict_proba(X), expected)


@pytest.mark.parametrize("write", [fastbp.to_c, fastbp.to_onnx, fastbp.to_safetensors])
def test_what_is_not_fitted_or_is_many_networks_is_refused(write, tmp_path):
    with pytest.raises(NotFittedError):
        write(MLPClassifier(), tmp_path / "model")
    with pytest.raises(TypeError, match="takes a Module of fastbp, or a fitted MLPClassifier or MLPRegressor, got Bag"):
        write(BaggingClassifier(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []

"""The network within an estimator: an nn.Sequential that shares its parameters, out of it and into it."""

import copy

import numpy
import pytest
from sklearn.exceptions import NotFittedError
from sklearn_cases import data, pair

import fastbp
from fastbp import nn, optim
from fastbp.sklearn import MLPClassifier, MLPRegressor, from_model

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = data("iris")
SMALL = {"hidden_layer_sizes": (6, 5), "max_iter": 8, "learning_rate_init": 0.02, "random_state": 0}


def test_the_network_has_the_estimators_parameters():
    ours = MLPClassifier(**SMALL, activation="tanh").fit(X, y)
    model = ours.model_
    assert [type(module).__name__ for module in model] == ["Linear", "Tanh", "Linear", "Tanh", "Linear"]
    for linear, coef, intercept in zip(list(model)[::2], ours.coefs_, ours.intercepts_, strict=True):
        assert numpy.shares_memory(coef, linear.weight.data)
        numpy.testing.assert_array_equal(coef.T, linear.weight.data)
        numpy.testing.assert_array_equal(intercept, linear.bias.data)
    logits = model.predict(X)
    expected = numpy.exp(logits) / numpy.exp(logits).sum(axis=1, keepdims=True)
    numpy.testing.assert_allclose(ours.predict_proba(X), expected, rtol=1e-12)


def test_training_the_network_changes_the_estimator():
    ours = MLPClassifier(**SMALL).fit(X, y)
    before = ours.score(X, y)
    opt = optim.Adam(ours.model_.parameters(), lr=0.02)
    fastbp.train_model(ours.model_, X, y, None, None, nn.CrossEntropyLoss(), opt, 100, 50)
    assert ours.score(X, y) > max(before, 0.9)


def test_parameters_that_are_put_in_place_of_others_are_used():
    theirs, ours = pair(X, y, **SMALL)
    for estimator in (theirs, ours):
        estimator.coefs_ = [coef + 0.25 for coef in estimator.coefs_]
        estimator.intercepts_[1] = numpy.arange(5.0)
    numpy.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-9)
    model = ours.model_
    assert numpy.shares_memory(ours.coefs_[0], model[0].weight.data)
    ours.coefs_[0][...] = 0
    numpy.testing.assert_array_equal(ours.model_[0].weight.data, 0)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_has_the_numbers(copied):
    ours = MLPClassifier(**SMALL).fit(X, y)
    expected = ours.predict_proba(X)
    other = copied(ours)
    numpy.testing.assert_array_equal(other.predict_proba(X), expected)
    other.set_params(random_state=1).fit(X, y)
    numpy.testing.assert_array_equal(ours.predict_proba(X), expected)


def test_nothing_is_there_before_a_fit():
    for kind in (MLPClassifier, MLPRegressor):
        with pytest.raises(NotFittedError, match=f"This {kind.__name__} instance is not fitted yet"):
            kind().model_  # noqa: B018
        assert not hasattr(kind(), "coefs_")


def trained(outputs, dtype=numpy.float64):
    return nn.Sequential(
        nn.Linear(4, 9, rng=0, dtype=dtype), nn.LayerNorm(9, dtype=dtype), nn.GELU(),
        nn.Linear(9, outputs, rng=1, dtype=dtype),
    )  # fmt: skip


def test_a_trained_network_becomes_a_classifier(dtype):
    model = trained(3, dtype)
    ours = from_model(model, classes=["a", "b", "c"])
    assert isinstance(ours, MLPClassifier)
    logits = model.predict(X.astype(dtype))
    numpy.testing.assert_array_equal(ours.predict(X.astype(dtype)), numpy.array(["a", "b", "c"])[logits.argmax(axis=1)])
    numpy.testing.assert_array_equal(ours.predict(X), ours.predict(X.astype(dtype)))
    numpy.testing.assert_allclose(ours.predict_proba(X).sum(axis=1), 1, rtol=1e-6)
    assert ours.model_ is model
    assert ours.hidden_layer_sizes == (9,)
    assert ours.score(X, numpy.array(["a", "b", "c"])[y]) < 1
    ours.partial_fit(X.astype(dtype), numpy.array(["a", "b", "c"])[y])
    assert ours.n_iter_ == 1
    assert ours.model_ is model


def test_one_logit_tells_two_classes():
    model = trained(1)
    ours = from_model(model, classes=[-1, 1])
    numpy.testing.assert_array_equal(ours.predict(X), numpy.where(model.predict(X)[:, 0] > 0, 1, -1))
    numpy.testing.assert_allclose(ours.predict_proba(X)[:, 1], 1 / (1 + numpy.exp(-model.predict(X)[:, 0])))


def test_a_trained_network_becomes_a_regressor():
    for outputs in (1, 2):
        model = trained(outputs)
        ours = from_model(model)
        assert isinstance(ours, MLPRegressor)
        expected = model.predict(X)
        numpy.testing.assert_array_equal(ours.predict(X), expected[:, 0] if outputs == 1 else expected)


def test_an_estimators_network_becomes_an_estimator_again():
    for make, target, classes in ((MLPClassifier, y, [0, 1, 2]), (MLPRegressor, X[:, 0], None)):
        ours = make(**SMALL).fit(X, target)
        again = from_model(ours.model_, classes)
        numpy.testing.assert_array_equal(again.predict(X), ours.predict(X))
        assert (again.hidden_layer_sizes, again.activation) == ((6, 5), "relu")


def test_what_is_no_estimator_is_refused():
    with pytest.raises(TypeError, match=r"from_model takes an nn\.Sequential, got Linear"):
        from_model(nn.Linear(2, 1))
    with pytest.raises(ValueError, match="begins and ends with a Linear"):
        from_model(nn.Sequential(nn.Linear(2, 2), nn.Softmax(1)), classes=[0, 1])
    with pytest.raises(ValueError, match="takes a model with 1 outputs for 2 classes, got 3"):
        from_model(trained(3), classes=[0, 1])
    with pytest.raises(ValueError, match="takes classes as sorted labels, each once"):
        from_model(trained(3), classes=[2, 1, 0])

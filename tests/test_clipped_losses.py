"""Losses of logits whose probabilities are cut off, as scikit-learn's log loss has them."""

import numpy
import pytest
from sklearn.neural_network._base import binary_log_loss, log_loss

from fastbp import nn

SIZES = [1.0, 30.0, 300.0, 1e4]


@pytest.mark.parametrize("size", SIZES)
def test_the_loss_of_classes_is_scikit_learns(size, dtype):
    rng = numpy.random.default_rng(0)
    logits = (size * rng.normal(size=(50, 4))).astype(dtype)
    classes = rng.integers(4, size=50)
    shifted = numpy.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    expected = log_loss(numpy.eye(4, dtype=dtype)[classes], probabilities)
    eps = float(numpy.finfo(dtype).eps)
    loss = nn.CrossEntropyLoss(eps=eps)(logits, classes)
    numpy.testing.assert_allclose(loss, expected, rtol=8 * eps, atol=2 * eps)
    assert size < 100 or loss < nn.CrossEntropyLoss()(logits, classes) / 2


@pytest.mark.parametrize("size", SIZES)
def test_the_loss_of_labels_is_scikit_learns(size, dtype):
    rng = numpy.random.default_rng(0)
    logits = (size * rng.normal(size=(50, 4))).astype(dtype)
    labels = rng.integers(2, size=(50, 4)).astype(dtype)
    probabilities = nn.Sigmoid()(logits)
    eps = float(numpy.finfo(dtype).eps)
    loss = 4 * nn.BCEWithLogitsLoss(eps=eps)(logits, labels)
    numpy.testing.assert_allclose(loss, binary_log_loss(labels, probabilities), rtol=8 * eps, atol=2 * eps)
    assert size < 100 or loss < 4 * nn.BCEWithLogitsLoss()(logits, labels) / 2


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.BCEWithLogitsLoss])
def test_the_gradient_is_that_of_the_loss_as_it_is(kind, dtype):
    logits = 100 * numpy.random.default_rng(0).normal(size=(20, 3)).astype(dtype)
    target = numpy.arange(20) % 3 if kind is nn.CrossEntropyLoss else numpy.eye(3, dtype=dtype)[numpy.arange(20) % 3]
    clipped, plain = kind(eps=1e-3), kind()
    assert clipped(logits, target) < plain(logits, target)
    numpy.testing.assert_array_equal(clipped.backward(), plain.backward())


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.BCEWithLogitsLoss])
@pytest.mark.parametrize("eps", [-1e-3, 0.5, numpy.nan])
def test_eps_is_below_a_half(kind, eps):
    with pytest.raises(ValueError, match=f"{kind.__name__} takes .*eps"):
        kind(eps=eps)


def test_a_class_loss_with_eps_takes_class_indices_without_smoothing():
    with pytest.raises(ValueError, match="takes eps without label_smoothing, got 0"):
        nn.CrossEntropyLoss(eps=1e-3, label_smoothing=0.1)
    logits = numpy.zeros((3, 2))
    with pytest.raises(ValueError, match="takes target as class indices for a CrossEntropyLoss with eps"):
        nn.CrossEntropyLoss(eps=1e-3)(logits, numpy.full((3, 2), 0.5))

"""Cross entropy and likelihood of classes at many places, (n, classes, ...), and of one row alone: torch's."""

import numpy
import pytest
from helpers import assert_close, draw, leaf, tensor
from loss_cases import CASES

from fastbp import nn

CLASSES = 4
OF_CLASSES = [case for case in CASES if "classes" in case.kind]


def data(case, shape, dtype):
    x = draw((*shape[:1], CLASSES, *shape[1:]) if shape else (CLASSES,), dtype)
    if case.kind == "soft classes":
        return x, numpy.abs(draw(x.shape, dtype, seed=1)) / dtype(9)
    return x, (numpy.arange(numpy.prod(shape, dtype=int)) ** 2 % CLASSES).reshape(shape)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 2), ()], ids=str)
@pytest.mark.parametrize("case", OF_CLASSES, ids=str)
def test_losses_and_gradients_are_torchs(case, shape, reduction, dtype):
    x, y = data(case, shape, dtype)
    criterion, inputs = case.ours(reduction), leaf(x)
    loss, expected = criterion(x, y), case.theirs(reduction, dtype)(inputs, tensor(y))
    assert_close(numpy.asarray(loss, dtype), expected)
    assert_close(numpy.asarray(criterion.evaluate(x, y), dtype), expected)
    grad_output = draw(expected.shape, dtype, seed=5) if reduction == "none" else None
    expected.backward(None if grad_output is None else tensor(grad_output))
    assert_close(criterion.backward(None if grad_output is None else numpy.asarray(grad_output)), inputs.grad)


def test_each_place_has_the_weight_of_its_row():
    x, y = data(OF_CLASSES[0], (5, 3), numpy.float64)
    weights = numpy.arange(5.0)
    values = nn.CrossEntropyLoss(reduction="none")(x, y)
    expected = (values * weights[:, None]).sum() / (3 * weights.sum())
    numpy.testing.assert_allclose(nn.CrossEntropyLoss()(x, y, weights), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("prediction", "target"), [((2, 4, 3), (2, 4)), ((2, 0, 3), (2, 3)), ((4,), (1,)), ((2, 4, 3), (6,))], ids=str
)
def test_targets_of_another_shape_are_refused(prediction, target):
    with pytest.raises(ValueError, match=r"CrossEntropyLoss takes logits of shape \(n, classes\), .*, got \("):
        nn.CrossEntropyLoss()(numpy.zeros(prediction), numpy.zeros(target, int))

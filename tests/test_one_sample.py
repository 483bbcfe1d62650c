"""One sample without a batch, whose target is a number: losses and gradients are torch's."""

import numpy
import pytest
import torch
from helpers import assert_close, leaf
from loss_cases import CASES

from fastbp import nn

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean'")  # torch's advice on KLDivLoss
REDUCTIONS = ("mean", "sum", "none")
OF_CLASSES = [case for case in CASES if case.kind in ("classes", "log classes")]
OF_NUMBERS = [
    case
    for case in CASES
    if "classes" not in case.kind and case.name != "QuantileLoss" and "weight" not in case.options
]
OF_COLUMNS = [case for case in CASES if case.name.startswith("BCE") and "weight" in case.options]


def assert_torchs(case, reduction, x, y):
    """``x`` and ``y`` are what a loss takes here; in torch numbers are tensors without dimensions."""
    criterion, inputs = case.ours(reduction), leaf(numpy.asarray(x))
    target = torch.tensor(y, dtype=inputs.dtype if numpy.asarray(y).dtype.kind == "f" else torch.int64)
    expected = case.theirs(reduction, x.dtype)(
        inputs, target.reshape(inputs.shape) if target.is_floating_point() else target
    )
    loss = criterion(x, y)
    assert_close(numpy.asarray(loss, x.dtype), expected)
    assert_close(numpy.asarray(criterion.evaluate(x, y), x.dtype), expected)
    expected.sum().backward()
    grad = criterion.backward(numpy.ones(expected.shape, x.dtype) if reduction == "none" else None)
    assert grad.shape == x.shape
    assert_close(grad, inputs.grad)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", OF_CLASSES, ids=str)
def test_a_class_is_a_number(case, reduction, dtype):
    x, y = case.data(dtype, 4)
    for row, number in zip(x, y, strict=True):
        for target in (number, numpy.uint8(number), int(number), numpy.array(number)):
            assert_torchs(case, reduction, row, target)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", OF_NUMBERS, ids=str)
def test_a_target_is_a_number(case, reduction, dtype):
    x, y = case.data(dtype, 4)
    for prediction in (x[0, 0], x[0, :1], x[:1, :1]):  # a number too, and one with dimensions
        for target in (y[0, 0], float(y[0, 0]), y[0, 0].reshape(())):
            assert_torchs(case, reduction, prediction, target)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("case", OF_COLUMNS, ids=str)
def test_a_sample_with_a_weight_for_each_column_is_a_vector(case, reduction, dtype):
    x, y = case.data(dtype, 2)
    assert_torchs(case, reduction, x[0], y[0])
    if len(case.options["weight"]) > 1:
        with pytest.raises(ValueError, match=r"with a weight for each row, shape \(1,\), got \(4,\)"):
            case.ours()(x[0], y[0], numpy.ones(4, dtype))


def test_a_gaussian_likelihood_takes_numbers(dtype):
    x, y, var = dtype(0.3), dtype(1.1), 0.5
    inputs = leaf(numpy.asarray(x))
    expected = torch.nn.GaussianNLLLoss()(inputs, torch.tensor(y), var)
    for target in (y, float(y)):
        criterion = nn.GaussianNLLLoss()
        assert_close(numpy.asarray(criterion(x, target, var), dtype), expected)
    expected.backward()
    assert_close(criterion.backward(), inputs.grad)


@pytest.mark.parametrize(
    ("criterion", "target", "error", "match"),
    [
        (nn.MSELoss, 1.0, ValueError, r"MSELoss takes a target of the prediction's shape \(3,\), got \(\)"),
        (nn.MSELoss, numpy.float64(1), TypeError, r"MSELoss with .* takes float32 arrays, got float64"),
        (nn.MSELoss, True, TypeError, "MSELoss with .* takes a NumPy array, got bool"),
        (nn.CrossEntropyLoss, 1.0, TypeError, "CrossEntropyLoss takes target as class indices of an integer dtype"),
        (nn.CrossEntropyLoss, 3, ValueError, "CrossEntropyLoss takes target from 0 to 2 for 3 outputs, got 3"),
        (nn.CrossEntropyLoss, True, ValueError, "CrossEntropyLoss takes logits of shape"),
    ],
)
def test_a_number_that_is_no_target_is_refused(criterion, target, error, match):
    with pytest.raises(error, match=match):
        criterion()(numpy.zeros(3, numpy.float32), target)

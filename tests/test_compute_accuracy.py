"""Accuracy: of one-hot rows, of a single column of 0 and 1, and of class indices."""

import numpy
import pytest
import torch
from helpers import draw, mlp
from same_bits import Network, assert_same_bits, train

import fastbp
from fastbp import nn

F32 = numpy.float32
NONE = nn.Sequential()  # returns what it is given
COLUMN = Network((4, 9, 1), ("Tanh", "Sigmoid"))


def column(*values, dtype=F32):
    return numpy.array(values, dtype)[:, None]


def binary(n, dtype, seed=0):
    """Inputs of 4 features, and a column that tells on which side of zero their sum is."""
    x = draw((n, 4), dtype, seed)
    return x, (x.sum(axis=1, keepdims=True) > 0).astype(dtype)


def test_a_column_counts_the_rows_whose_output_is_on_the_targets_side_of_one_half(dtype):
    outputs = column(0.6, 0.4, 7.0, -7.0, 0.6, 0.4, dtype=dtype)
    targets = column(1, 0, 1, 0, 0, 1, dtype=dtype)
    assert fastbp.compute_accuracy(NONE, outputs, targets) == pytest.approx(4 / 6)


def test_one_half_is_on_the_side_of_0():
    assert fastbp.compute_accuracy(NONE, column(0.5, 0.5), column(0, 1)) == 0.5
    above = numpy.nextafter(F32(0.5), F32(1))
    assert fastbp.compute_accuracy(NONE, column(above, above), column(0, 0)) == 0


def test_nan_in_a_column_is_never_a_hit():
    assert fastbp.compute_accuracy(NONE, column(numpy.nan, numpy.nan), column(0, 1)) == 0
    assert fastbp.compute_accuracy(NONE, column(numpy.inf, -numpy.inf), column(1, 0)) == 1


@pytest.mark.parametrize("kind", [numpy.int64, numpy.int32, numpy.uint8])
def test_class_indices_count_as_their_one_hot_rows_do(kind, dtype):
    model, x = mlp(4, 9, 3, dtype=dtype), draw((50, 4), dtype)
    indices = (numpy.arange(50) % 3).astype(kind)
    one_hot = numpy.eye(3, dtype=dtype)[indices]
    expected = fastbp.compute_accuracy(model, x, one_hot)
    assert 0 < expected < 1
    assert fastbp.compute_accuracy(model, x, indices) == expected
    predicted = model.predict(x).argmax(axis=1)
    assert fastbp.compute_accuracy(model, x, targets=predicted) == 1


def test_the_accuracy_of_no_rows_is_nan():
    for model, targets in (
        (mlp(4, 3), numpy.zeros((0, 3), F32)),
        (mlp(4, 1), numpy.zeros((0, 1), F32)),
        (mlp(4, 3), numpy.zeros(0, int)),
    ):
        assert numpy.isnan(fastbp.compute_accuracy(model, numpy.zeros((0, 4), F32), targets))


REFUSED = {
    "index too large": ([0, 1, 3], r"class indices from 0 to 2 for outputs of shape \(3, 3\), got 3"),
    "index below 0": ([0, -1, 2], r"class indices from 0 to 2 for outputs of shape \(3, 3\), got -1"),
    "column of indices": ([[0], [1], [2]], r"class indices of shape \(n,\), got \(3, 1\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_class_indices_that_name_no_class_are_refused(case):
    indices, match = REFUSED[case]
    with pytest.raises(ValueError, match=r"compute_accuracy takes " + match):
        fastbp.compute_accuracy(mlp(4, 3), numpy.zeros((3, 4), F32), numpy.array(indices))


def test_class_indices_that_are_no_integers_are_told_what_to_pass():
    with pytest.raises(ValueError, match=r"takes class indices as integers, got float32; pass \.astype\(int\)"):
        fastbp.compute_accuracy(mlp(4, 3), numpy.zeros((3, 4), F32), numpy.zeros(3, F32))


def test_class_indices_of_another_kind_of_array_are_told_what_to_call():
    x, indices = numpy.zeros((3, 4), F32), numpy.array([0, 1, 2])
    with pytest.raises(TypeError, match=r"\(targets=\.\.\.\) takes a NumPy array, got Tensor of .*with \.numpy\(\)$"):
        fastbp.compute_accuracy(mlp(4, 3), x, torch.from_numpy(indices))
    with pytest.raises(TypeError, match=r"\(targets=\.\.\.\) takes arrays without a mask"):
        fastbp.compute_accuracy(mlp(4, 3), x, numpy.ma.masked_array(indices, [0, 1, 0]))


def test_class_indices_for_a_single_output_are_told_the_column():
    with pytest.raises(ValueError, match=r"outputs of 2 columns or more, got \(3, 1\); .*targets\[:, None\]\.astype"):
        fastbp.compute_accuracy(mlp(4, 1), numpy.zeros((3, 4), F32), numpy.array([0, 1, 1]))


@pytest.mark.parametrize("targets", [column(0, 0.5, 1), column(0, 2, 1), column(0, numpy.nan, 1)])
def test_other_targets_are_told_all_that_are_taken(targets):
    match = r"takes one-hot targets, .* a single column of 0 and 1, or integer class indices of shape \(n,\)"
    with pytest.raises(ValueError, match=match):
        fastbp.compute_accuracy(mlp(4, 1), numpy.zeros((3, 4), F32), targets)


@pytest.mark.parametrize("val", [1, 40, 600])
def test_both_ways_record_the_accuracy_of_a_column(val, dtype):
    data = (*binary(300, dtype, 1), *binary(val, dtype, 2))
    options = {"reduction": "sum", "lr": 1.0}
    one, two = (train(COLUMN.build(dtype), data, 8, 20, by_modules=way, **options) for way in (True, False))
    assert_same_bits(one, two)
    assert len(two.history["val_accuracy"]) == 8
    if val == 600:
        assert two.history["val_accuracy"][-1] > 0.8


@pytest.mark.parametrize("by_modules", [False, True])
def test_the_recorded_accuracy_is_that_of_compute_accuracy(by_modules, dtype):
    model, data = COLUMN.build(dtype), (*binary(100, dtype, 1), *binary(333, dtype, 2))
    history = train(model, data, 3, 20, by_modules=by_modules).history
    assert history["val_accuracy"][-1] == fastbp.compute_accuracy(model, *data[2:])


@pytest.mark.parametrize("by_modules", [False, True])
def test_a_diverged_column_hits_nothing(by_modules):
    x, target = binary(40, F32)
    options = {"lr": 1e30, "on_nonfinite": "ignore", "by_modules": by_modules}
    history = train(mlp(4, 9, 1), (x, target, x, target), 3, 7, **options).history
    assert history["val_accuracy"][-1] == 0


def test_a_column_of_other_numbers_has_no_accuracy():
    x, target = binary(40, F32)
    for changed in (2 * target, target + F32(1e-7), target - 1):
        assert train(mlp(4, 9, 1), (x, target, x, changed), 1, 7).history["val_accuracy"] == []

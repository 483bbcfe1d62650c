"""Folds in one call."""

import numpy
import pytest
from same_bits import SMOOTH, assert_same_bits, outcome
from sklearn.model_selection import KFold

import fastbp
from fastbp import nn, optim


def build(fold):
    model = SMOOTH.build(numpy.float32, fold)
    return model, nn.MSELoss(), optim.Adam(model.parameters(), lr=0.01)


@pytest.mark.parametrize("options", [{}, {"shuffle": True}])
def test_each_fold_has_the_bits_of_its_training_alone(options):
    input, target, *_ = SMOOTH.data(numpy.float32, 47)
    found = fastbp.cross_validate(build, input, target, 3, 8, folds=4, **options)
    for fold, (rows, val_rows) in enumerate(KFold(4).split(input)):
        numpy.testing.assert_array_equal(found.val_rows[fold], val_rows)
        model, loss, opt = build(fold)
        history = fastbp.train_model(
            model, input[rows], target[rows], input[val_rows], target[val_rows], loss, opt, 3, 8,
            rng=fold if options else None, **options,
        )  # fmt: skip
        assert_same_bits(outcome(found.models[fold], found.histories[fold]), outcome(model, history))
    assert found.scores().tolist() == [history["val_loss_mean"][-1] for history in found.histories]
    assert len(found.ensemble) == 4


def test_drawn_folds_part_the_rows_and_repeat_by_their_seed():
    input, target, *_ = SMOOTH.data(numpy.float32, 23)
    one, other = (fastbp.cross_validate(build, input, target, 1, 8, folds=3, rng=5) for _ in range(2))
    assert sorted(numpy.concatenate(one.val_rows)) == list(range(23))
    numpy.testing.assert_array_equal(numpy.concatenate(one.val_rows), numpy.concatenate(other.val_rows))


def test_folds_may_come_from_scikit_learn():
    input, target, *_ = SMOOTH.data(numpy.float32, 23)
    stopping = fastbp.EarlyStopping(1, min_delta=10.0)
    found = fastbp.cross_validate(build, input, target, 9, 8, folds=KFold(3).split(input), early_stopping=stopping)
    assert [history.epochs for history in found.histories] == [2, 2, 2]
    assert found.scores().tolist() == [history["val_loss_mean"][0] for history in found.histories]


def test_too_few_or_too_many_folds_are_refused():
    input, target, *_ = SMOOTH.data(numpy.float32, 4)
    for folds in (1, 5):
        with pytest.raises(ValueError, match=f"2 to 4 folds for 4 rows, got {folds}"):
            fastbp.cross_validate(build, input, target, 1, 8, folds=folds)


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"folds": 2.5}, TypeError, r"folds as an int or as pairs \(rows, val_rows\), got 2\.5"),
        ({"folds": True}, TypeError, "folds as an int .*, got True"),
        ({"folds": []}, ValueError, r"each fold as a pair \(rows, val_rows\), and one or more, got no fold"),
        ({"folds": [(numpy.arange(3),)]}, ValueError, "got a fold of 1"),
        ({"folds": [3]}, ValueError, "got a fold of 1"),
        ({"build": lambda fold: nn.Linear(4, 4)}, TypeError, "a build that returns model, criterion and optim"),
        ({"val_input": 3, "name": "mine"}, TypeError, "chooses name, val_input for each fold, and takes none"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_told(changes, kind, text):
    input, target, *_ = SMOOTH.data(numpy.float32, 12)
    arguments = {"build": build, "train_input": input, "train_target": target, "epochs": 1, "mini_batch_size": 8}
    with pytest.raises(kind, match=text):
        fastbp.cross_validate(**arguments | {"folds": 3} | changes)
